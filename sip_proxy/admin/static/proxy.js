"use strict";

const POLL = 2000;      // milliseconds between two looks at the proxy
const SHOWN = 100;      // rows of each table
const MOST_USERS = 5000;  // registrations among which is searched
const SOON = 21 * 86400; // seconds before its expiry in which a certificate is worth a warning
let samples = [];       // [Unix seconds, answers so far], for the rate

const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");
const when = (unix, now) => now - unix < 86400 ? clock(unix) : new Date(unix * 1000).toLocaleString("en-GB");
const party = (uri) => uri.replace(/^sips?:/, "");

const tile = (id, value, unit, note) => {
  $(id).replaceChildren(value, make("span", {className: "unit", textContent: unit}));
  $(`${id}-note`).textContent = note;
};

const cell = (label, kind, ...children) => {
  const made = make("td", {className: kind}, ...children);
  made.dataset.label = label;
  return made;
};
const mono = (text) => make("div", {className: "mono", textContent: text});
const soft = (text) => make("div", {className: "soft small", textContent: text});

/* ── status ───────────────────────────────────────────────────────────────────────────────── */

const KEPT_OUT = ["messages of floods", "messages of strangers crowded out", "messages of scanners", "challenges withheld"];

const answered = (status) => status.answers.reduce((total, each) => total + each.count, 0);
const connected = (status) => status.connections.reduce((total, each) => total + each.accepted + each.made, 0);

const rate = () => {
  if (samples.length < 2) return 0;
  const [start, end] = [samples[0], samples.at(-1)];
  return Math.max(0, (end[1] - start[1]) / (end[0] - start[0]));
};

const showTiles = (status, {running}) => {
  const talking = running.filter((each) => each.answered).length;
  tile("calls", count(running.length), running.length >= SHOWN ? " or more" : "", running.length ? `${count(talking)} talk · ${count(running.length - talking)} ring` : "nobody talks");
  tile("registered", count(status.registered), "", `users · ${count(connected(status))} connections`);
  tile("answers", rate() < 10 ? rate().toFixed(1) : count(rate()), "/s", `${count(answered(status))} in all · ${count(status.transactions)} transactions`);
  const out = KEPT_OUT.reduce((total, name) => total + (status.counts[name] ?? 0), 0);
  tile("kept-out", count(out), "", `messages · ${count(status.counts["password guesses stopped"] ?? 0)} × stopped guessing`);
};

const store = (term, {name, failure}) => fact(term, failure ? "down" : "up", failure ? "bad" : "good", shortened(name));
const shortened = (name) => name.length > 42 ? `…${name.slice(-41)}` : name;

const showHealth = (status, calls, now) => {
  const parts = [...store("Users", status.users), ...store("Registrations", status.location)];
  for (const each of status.certificates) {
    const left = each.expires - now;
    const quality = left < 3 * 86400 ? "bad" : left < SOON ? "warn" : "good";
    parts.push(...fact("Certificate", left > 0 ? `${Math.floor(left / 86400)} days` : "expired", quality, each.names[0] ?? ""));
  }
  const {used, limit} = status.descriptors;
  parts.push(...fact("Open files", count(used), used > limit * 0.8 ? "warn" : "", `of ${count(limit)}`));
  parts.push(...fact("Domains", status.domains.join(", ") || "none"));
  status.listeners.slice(0, 8).forEach((each, index) => parts.push(...fact(index ? "" : "Listeners", each.address, "mono", each.transport.toUpperCase())));
  if (status.dropped) parts.push(...fact("Dropped", count(status.dropped), "", "what was no SIP, or answered nothing"));
  if (calls.unfollowed) parts.push(...fact("Calls not followed", count(calls.unfollowed), "warn", "there was no room"));
  if (calls.unwritten) parts.push(...fact("Call records lost", count(calls.unwritten), "bad", "see the log"));
  if (status.counts["internal errors"]) parts.push(...fact("Internal errors", count(status.counts["internal errors"]), "bad", "see the log"));
  $("health").replaceChildren(...parts);
};

const showGateways = ({gateways}) => {
  $("gateways").replaceChildren(...gateways.flatMap((each) => fact(
    each.name, each.is_up ? "up" : "down", each.is_up ? "good" : "bad",
    `${each.group} · ${count(each.calls)} calls${each.failures ? ` · ${count(each.failures)} failures in a row` : ""}`)));
  $("no-gateways").hidden = gateways.length > 0;
};

const showStatuses = ({answers}) => {
  const found = answers.toSorted((one, other) => other.count - one.count);
  const most = found.length ? found[0].count : 1;
  $("statuses").replaceChildren(...found.slice(0, 10).map(({method, status, count: times}) => make("li", {},
    make("div", {className: "row"}, make("span", {textContent: `${method} ${status}`}), make("strong", {textContent: count(times)})),
    make("progress", {max: most, value: times, ariaHidden: "true"}))));
  $("no-statuses").hidden = found.length > 0;
};

const showNotices = (status, now) => {
  const notices = [];
  if (status.drain) notices.push(["", `Draining: no new call and no registration is taken. ${count(status.transactions)} transactions are left; the proxy stops in ${span(status.drain.until - now)} at the latest.`]);
  if (status.users.failure) notices.push(["bad", `The store of users is down: ${status.users.failure}. Whoever must prove who they are gets error 500.`]);
  if (status.location.failure) notices.push(["bad", `The store of registrations is down: ${status.location.failure}.`]);
  const down = status.gateways.filter((each) => !each.is_up);
  if (down.length) notices.push(["", `Down: ${down.map((each) => each.name).join(", ")}. Calls go to the other gateways of the group, if there are any.`]);
  for (const each of status.certificates) {
    if (each.expires - now < SOON) notices.push([each.expires < now ? "bad" : "", `The certificate of ${each.names[0]} ${each.expires < now ? "expired" : "expires"} on ${new Date(each.expires * 1000).toISOString().slice(0, 10)}. Renew it and reload.`]);
  }
  const text = JSON.stringify(notices);
  // Written only when it changes, so that nobody hears it again and again.
  if ($("notices").dataset.text === text) return;
  $("notices").dataset.text = text;
  $("notices").replaceChildren(...notices.map(([kind, line]) => make("p", {className: `notice ${kind}`, textContent: line})));
};

/* ── tables ───────────────────────────────────────────────────────────────────────────────── */

/* Rows stay while what they show does, so that what somebody is about to press stays under the finger. */
const table = (id, none) => {
  const rows = new Map();
  return (entries) => {
    const body = $(`${id}-rows`), keys = new Set(entries.map(([key]) => key));
    for (const [key, row] of rows) {
      if (keys.has(key)) continue;
      if (row.contains(document.activeElement)) $(`${id}-title`).focus();
      row.remove();
      rows.delete(key);
    }
    entries.forEach(([key, cells, button], index) => {
      let row = rows.get(key);
      if (!row) {
        row = make("tr", {}, ...cells, cell("", "bare wide", button()));
        rows.set(key, row);
      } else {
        cells.forEach((made, column) => {
          if (row.children[column].innerHTML !== made.innerHTML) row.children[column].replaceWith(made);
        });
      }
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    });
    $(`no-${id}`).hidden = entries.length > 0;
    $(`no-${id}`).textContent = $(`${id}-search`).value.trim() ? "Nothing matches." : none;
    $(`${id}-shown`).textContent = entries.length >= SHOWN ? `the first ${SHOWN}` : "";
  };
};

const ladderButton = (callId) => () => {
  const button = make("button", {type: "button", textContent: "Ladder"});
  button.setAttribute("aria-label", `Ladder of ${callId}`);
  button.addEventListener("click", () => { location.hash = `call=${encodeURIComponent(callId)}`; });
  return button;
};

const word = (text, quality) => make("span", {className: `status-word ${quality}`, textContent: text});

const ends = {caller: "the caller hung up", callee: "the called side ended it", proxy: "given up by the proxy", nobody: "no BYE was seen"};

const runningRow = (each, now) => {
  const state = each.answered ? word("talking", "good") : word(each.ringing ? "ringing" : "calling", "warn");
  const rang = each.branches.map((branch) => branch.destination);
  return [`${each.call_id} ${each.started}`, [
    cell("State", "", state),
    cell("From", "", party(each.sender), soft(each.source)),
    cell("To", "", party(each.receiver)),
    cell("Began", "", when(each.started, now)),
    cell("Talked", "number", each.answered ? span(now - each.answered) : "–"),
    cell("Answered by", "", each.answered ? mono(each.branches.find((branch) => branch.status >= 200 && branch.status < 300)?.destination ?? "") : soft(rang.length > 1 ? `${rang.length} places ring` : rang[0] ?? "")),
  ], ladderButton(each.call_id)];
};

const endedRow = (each, now) => {
  const state = each.answered ? word("ended", "") : word(`${each.status || "none"}`, each.status === 487 ? "warn" : "bad");
  return [`${each.call_id} ${each.started}`, [
    cell("State", "", state, soft(each.answered ? ends[each.released_by] : each.reason)),
    cell("From", "", party(each.sender), soft(each.source)),
    cell("To", "", party(each.receiver), ...(each.target ? [soft(party(each.target))] : [])),
    cell("Began", "", when(each.started, now)),
    cell("Talked", "number", each.answered ? span(each.ended - each.answered) : "–"),
    cell("Answered by", "", mono(each.answered_by)),
  ], ladderButton(each.call_id)];
};

const userRow = (each, now) => [each.address_of_record, [
  cell("User", "", party(each.address_of_record)),
  cell("Contacts", "", ...each.contacts.flatMap((contact) => [mono(party(contact.uri)), soft(
    [`expires in ${span(contact.expires - now)}`, contact.flow ? `by ${contact.flow}` : contact.path.length ? `by ${contact.path.map(party).join(", ")}` : "", contact.user_agent].filter(Boolean).join(" · "))])),
], () => {
  const button = make("button", {type: "button", className: "danger", textContent: "Remove"});
  button.setAttribute("aria-label", `Remove the registration of ${party(each.address_of_record)}`);
  button.addEventListener("click", () => remove(each));
  return button;
}];

/* What waits for a final response, what has one and is kept for the other side's sake, and what is gone. */
const WAITING = ["calling", "trying", "proceeding"];

const transactionRow = (each, now) => [`${each.is_client} ${each.branch} ${each.method} ${each.began}`, [
  cell("Request", "", make("strong", {textContent: each.method})),
  cell("State", "", word(each.state, WAITING.includes(each.state) ? "warn" : "")),
  cell("Way", "", ...(each.remote
    ? [mono(each.remote), soft(`${each.is_client ? "sent there" : "came from there"} over ${each.transport.toUpperCase()}`)]
    : [soft(`${each.is_client ? "sent" : "came"} on a connection that ended`)])),
  cell("Age", "number", span(now - each.began)),
  cell("Call-ID and branch", "", ...(each.call_id ? [mono(each.call_id)] : []), soft(each.branch)),
], each.call_id ? ladderButton(each.call_id) : () => ""];

const recentRow = (each, now) => [each.call_id, [
  cell("Request", "", make("strong", {textContent: each.method || "?"}), soft(each.status ? `last answer ${each.status}` : "no answer")),
  cell("From", "", party(each.sender)),
  cell("To", "", party(each.receiver)),
  cell("Last", "", when(each.last, now)),
  cell("Messages", "number", count(each.messages)),
], ladderButton(each.call_id)];

const showCalls = table("calls", "Nobody has called yet.");
const showUsers = table("users", "Nobody is registered.");
const showTransactions = table("transactions", "Nothing is under way.");
const showRecent = table("recent", "Nothing is recorded.");

const remove = async (each) => {
  const user = party(each.address_of_record);
  if (!await confirmed("Remove?", `All contacts of ${user} are taken away: nobody reaches it until it registers again.`, "Remove")) return;
  try {
    await ask("/api/unregister", {address_of_record: each.address_of_record});
    $("report").textContent = `The registration of ${user} was removed.`;
  } catch (error) {
    $("report").textContent = error.message;
  }
  await look();
};

/* ── the ladder ───────────────────────────────────────────────────────────────────────────── */

let shown = null;

const drawLadder = () => { if (shown) Ladder.draw($("ladder"), shown, $("ladder").clientWidth); };

const showLadder = async () => {
  const found = /^#call=(.+)$/.exec(location.hash);
  $("ladder-card").hidden = !found;
  shown = null;
  if (!found) return;
  const callId = decodeURIComponent(found[1]);
  $("ladder-id").textContent = callId;
  $("capture").href = `/api/capture?call_id=${encodeURIComponent(callId)}`;
  try {
    shown = (await ask(`/api/ladder?call_id=${encodeURIComponent(callId)}`)).ladder;
    $("ladder-none").hidden = true;
    drawLadder();
  } catch (error) {
    $("ladder").replaceChildren();
    $("ladder-none").hidden = false;
    $("ladder-none").textContent = error.message;
  }
  $("ladder-title").focus({preventScroll: true});
  $("ladder-card").scrollIntoView({block: "start"});
};

$("ladder-close").addEventListener("click", () => {
  history.pushState(null, "", location.pathname);
  showLadder();
  $("calls-title").focus();
});
addEventListener("hashchange", showLadder);
addEventListener("resize", drawLadder);

/* ── looking ──────────────────────────────────────────────────────────────────────────────── */

const text = (id) => $(`${id}-search`).value.trim();
const searched = (path, id) => ask(`${path}?limit=${SHOWN}&text=${encodeURIComponent(text(id))}`);

/* Those that are listed and have the text in them; a user beyond the list is asked for by the whole name. */
const registered = async () => {
  const wanted = text("users").toLowerCase();
  const {registrations} = await ask(`/api/registrations?limit=${wanted ? MOST_USERS : SHOWN}`);
  const found = registrations.filter((each) => !wanted || JSON.stringify(each).toLowerCase().includes(wanted));
  if (found.length || !wanted) return found.slice(0, SHOWN);
  return (await ask(`/api/registrations?user=${encodeURIComponent(wanted)}`)).registrations;
};

const look = async () => {
  try {
    const [state, {calls}, users, {transactions}, {recent}] = await Promise.all([
      ask("/api/status"), searched("/api/calls", "calls"), registered().catch(() => null),
      searched("/api/transactions", "transactions"), searched("/api/recent", "recent"),
    ]);
    const {status, now, ready} = state;
    samples = [...samples, [now, answered(status)]].filter(([time]) => time > now - 12);
    $("lost").hidden = true;
    const phase = status.drain ? ["warn", "Draining"] : !ready ? ["bad", "Not ready"] : status.users.failure || status.location.failure ? ["bad", "In trouble"] : ["good", "Serving"];
    $("phase").className = `pill ${phase[0]}`;
    if ($("phase").textContent !== phase[1]) $("phase").textContent = phase[1];
    $("subtitle").textContent = `${status.version} · up for ${span(now - status.started)}`;
    $("sign-out").hidden = !state.signed_in;
    showNotices(status, now);
    showTiles(status, calls);
    showHealth(status, calls, now);
    showGateways(status);
    showStatuses(status);
    showCalls([...calls.running.map((each) => runningRow(each, now)), ...calls.ended.map((each) => endedRow(each, now))].slice(0, SHOWN));
    if (users) showUsers(users.map((each) => userRow(each, now)));
    showTransactions(transactions.map((each) => transactionRow(each, now)));
    showRecent(recent.map((each) => recentRow(each, now)));
  } catch {
    $("lost").hidden = false;
    $("phase").className = "pill bad";
    $("phase").textContent = "No answer";
  }
};

for (const id of ["calls", "users", "transactions", "recent"]) $(`${id}-search`).addEventListener("input", () => look());

$("sign-out").addEventListener("click", async (event) => {
  event.preventDefault();
  await ask("/sign-out", {});
  location.replace("/sign-in");
});

const reloaded = ({error, needs_restart: later, changed}) => {
  if (error) return `Nothing was changed: ${error}`;
  if (later.length) return `Reloaded. These count only after a restart: ${later.join(", ")}.`;
  return changed.length ? `Reloaded: ${changed.join(", ")}.` : "Reloaded; no option has another value than before.";
};

const act = async (path, say) => {
  try {
    $("done").textContent = say(await ask(path, {}));
  } catch (error) {
    $("done").textContent = error.message;
  }
  await look();
};

$("reload").addEventListener("click", () => act("/api/reload", ({reload}) => reloaded(reload)));

$("drain").addEventListener("click", async () => {
  const text = "No new call and no registration is taken from now on, and the proxy stops when the last transaction has ended. This cannot be taken back.";
  if (await confirmed("Drain and stop?", text, "Drain")) await act("/api/drain", () => "Draining.");
});

showLadder();
keepLooking(look, POLL);
