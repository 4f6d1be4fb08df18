"use strict";

const POLL = 2000;          // milliseconds between two looks at the server
const SPAN = 15 * 60;       // seconds that the charts show, once there is so much to show
const SHORT_SPAN = 5 * 60;
const SHOWN = 200;          // sessions that are listed
const SOON = 21 * 86400;    // seconds before its expiry in which a certificate is worth a warning
const CODES = {
  400: "malformed request", 401: "wrong user or password", 403: "forbidden", 420: "unknown attribute",
  437: "allocation mismatch", 438: "stale nonce", 440: "address family", 441: "wrong credentials",
  442: "transport", 443: "peer of another family", 446: "connection exists", 447: "connection failed",
  486: "quota reached", 500: "server error", 508: "no capacity", 300: "sent elsewhere", 487: "role conflict",
};

let samples = [];
let last = null;
let sessions = [];

const few = (value) => value > 0 && value < 10 ? value.toFixed(1) : count(value);
const bits = (bytes) => scaled(bytes * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"], 1000);
const date = (unix) => new Date(unix * 1000).toISOString().slice(0, 10);

/* Over ten seconds, so that the figures can be read before they change. */
const rate = (field, seconds = 10) => {
  if (samples.length < 2) return 0;
  const end = samples.at(-1);
  const start = samples.findLast((each) => end.time - each.time >= seconds - 1) ?? samples[0];
  return Math.max(0, (end[field] - start[field]) / (end.time - start.time));
};

const rates = (field) => samples.slice(1).map((each, index) => {
  const before = samples[index], passed = each.time - before.time, grown = each[field] - before[field];
  // A counter that fell began again; a gap is a page that slept.
  return [each.time, grown < 0 || passed > 60 || passed <= 0 ? null : grown / passed];
});

const tile = (id, [value, unit], note) => {
  $(id).replaceChildren(value, make("span", {className: "unit", textContent: unit}));
  $(`${id}-note`).textContent = note;
};

const sum = (record) => Object.values(record).reduce((total, value) => total + value, 0);

const showTiles = (status) => {
  const kinds = Object.entries(Object.groupBy(status.allocations, (each) => each.transport))
    .map(([transport, group]) => `${count(group.reduce((total, each) => total + each.count, 0))} ${transport.toUpperCase()}`);
  tile("sessions", [count(status.sessions), ""], kinds.join(" · ") || "nobody relays");
  tile("to-peers", bits(rate("bytes_to_peers")), `${few(rate("packets_to_peers"))} packets/s · ${size(status.relayed.bytes_to_peers)} in all`);
  tile("to-clients", bits(rate("bytes_to_clients")), `${few(rate("packets_to_clients"))} packets/s · ${size(status.relayed.bytes_to_clients)} in all`);
  tile("bindings", [few(rate("bindings")), "/s"], `${count(status.bindings)} in all`);
};

const shownSpan = (now) => samples.length && now - samples[0].time > SHORT_SPAN ? SPAN : SHORT_SPAN;

const showCharts = (now) => {
  const traffic = {in: rates("bytes_to_clients"), out: rates("bytes_to_peers")};
  Charts.draw($("traffic"), {
    series: Object.entries(traffic).map(([name, points]) => ({name, points})),
    span: shownSpan(now), now, least: 100, format: (bytes) => bits(bytes).map((part) => part.replace(/\.0+$/, "")).join(" "),
  });
  const most = Math.max(0, ...traffic.out.concat(traffic.in).map(([, value]) => value ?? 0));
  $("traffic").setAttribute("aria-label", `Traffic in the last ${shownSpan(now) / 60} minutes, ${bits(most).join(" ")} at most each way`);
  const live = samples.map((each) => [each.time, each.sessions]);
  Charts.draw($("sessions-chart"), {
    series: [{name: "in", points: live}], span: shownSpan(now), now, least: 2, whole: true, format: (value) => count(value),
  });
  const peak = Math.max(0, ...live.map(([, value]) => value));
  $("peak").textContent = `at most ${count(peak)}`;
  $("sessions-chart").setAttribute("aria-label", `Sessions in the last ${shownSpan(now) / 60} minutes, ${count(peak)} at most`);
};

const showHealth = (status, now) => {
  const parts = [];
  parts.push(...fact("Store", status.store.failure ? "down" : "up", status.store.failure ? "bad" : "good", shortStore(status.store.name)));
  for (const each of status.certificates) {
    const left = each.expires - now;
    const quality = left < 3 * 86400 ? "bad" : left < SOON ? "warn" : "good";
    parts.push(...fact("Certificate", left > 0 ? `${Math.floor(left / 86400)} days` : "expired", quality, each.names[0] ?? ""));
  }
  parts.push(...fact("Plane", status.plane, "", status.plane_reason));
  const {used, limit} = status.workers.reduce((worst, {descriptors}) => descriptors.used / descriptors.limit > worst.used / worst.limit ? descriptors : worst, {used: 0, limit: 1});
  parts.push(...fact("Open files", count(used), used > limit * 0.8 ? "warn" : "", `of ${count(limit)}`));
  const restarts = status.workers.reduce((total, each) => total + each.restarts, 0);
  parts.push(...fact("Workers", count(status.workers.length), "", restarts ? `${count(restarts)} restarts` : ""));
  parts.push(...fact("Event loop", status.event_loop));
  if (status.counts["internal errors"]) parts.push(...fact("Internal errors", count(status.counts["internal errors"]), "bad", "see the log"));
  $("health").replaceChildren(...parts);
};

const shortStore = (name) => name.length > 42 ? `…${name.slice(-41)}` : name;

const showRefusals = (status) => {
  const found = Object.entries(status.refusals).map(([code, times]) => [`${code} ${CODES[code] ?? ""}`, times]);
  if (status.peers_refused) found.push(["Peers refused by policy", status.peers_refused]);
  for (const [reason, times] of Object.entries(status.dropped)) if (times) found.push([`Packets dropped: ${reason}`, times]);
  for (const name of ["malformed messages", "declined connections", "refused connections"]) {
    if (status.counts[name]) found.push([name[0].toUpperCase() + name.slice(1), status.counts[name]]);
  }
  found.sort(([, one], [, other]) => other - one);
  const most = found.length ? found[0][1] : 1;
  $("refusals").replaceChildren(...found.slice(0, 8).map(([reason, times]) => make("li", {},
    make("div", {className: "row"}, make("span", {textContent: reason}), make("strong", {textContent: count(times)})),
    make("progress", {max: most, value: times, ariaHidden: "true"}))));
  $("no-refusals").hidden = found.length > 0;
  $("refusal-rate").textContent = `since the start; ${few(60 * rate("refused", 120))} requests a minute lately`;
};

const showListeners = (status) => {
  const rows = Object.entries(Object.groupBy(status.listeners, (each) => each.transport)).flatMap(([transport, group]) => [
    make("dt", {textContent: transport.toUpperCase()}),
    make("dd", {}, ...group.slice(0, 6).map((each) => make("div", {className: "mono", textContent: each.address})),
      ...(group.length > 6 ? [make("div", {className: "soft small", textContent: `and ${group.length - 6} more`})] : [])),
  ]);
  $("listeners").replaceChildren(...rows, ...fact(status.realms.length > 1 ? "Realms" : "Realm", status.realms.join(", ")));
  $("connections").textContent = `${count(status.connections)} connections`;
};

const showNotices = (status, now) => {
  const notices = [];
  if (status.drain) notices.push(["", `Draining: no new allocation is granted. ${count(status.drain.sessions)} sessions are left; the server stops in ${span(status.drain.until - now)} at the latest.`]);
  if (status.store.failure) notices.push(["bad", `The store of users is down: ${status.store.failure}. Users that were seen lately go on; others get error 500.`]);
  for (const each of status.certificates) {
    if (each.expires - now < SOON) notices.push([each.expires < now ? "bad" : "", `The certificate of ${each.names[0]} ${each.expires < now ? "expired" : "expires"} on ${date(each.expires)}. Renew it and reload.`]);
  }
  const text = JSON.stringify(notices);
  // Written only when it changes, so that nobody hears it again and again.
  if ($("notices").dataset.text === text) return;
  $("notices").dataset.text = text;
  $("notices").replaceChildren(...notices.map(([kind, line]) => make("p", {className: `notice ${kind}`, textContent: line})));
};

const showStatus = ({status, now, ready, signed_in: signedIn, test}) => {
  const phase = status.drain ? ["warn", "Draining"] : ready ? ["good", "Serving"] : ["bad", "Not ready"];
  $("phase").className = `pill ${phase[0]}`;
  if ($("phase").textContent !== phase[1]) $("phase").textContent = phase[1];
  $("subtitle").textContent = `${status.version} · up for ${span(now - status.started)}`;
  $("sign-out").hidden = !signedIn;
  $("foot").textContent = test ? "" : "The connectivity test needs a secret: stun-server secret add, or users.secrets in the configuration.";
  showNotices(status, now);
  showTiles(status);
  showCharts(now);
  showHealth(status, now);
  showRefusals(status);
  showListeners(status);
};

/* Rows stay while their sessions live, so that what somebody is about to press stays under the finger. */
const rows = new Map();

const newRow = (each) => {
  const cell = (label, kind = "") => {
    const made = make("td", {className: kind});
    made.dataset.label = label;
    return made;
  };
  const mono = (text) => make("div", {className: "mono", textContent: text});
  const soft = (text) => make("div", {className: "soft small", textContent: text});
  const fixed = [cell("User"), cell("Client"), cell("Relayed")];
  const changing = [cell("Since"), cell("Expires"), cell("Peers", "number"), cell("To peers", "number"), cell("To clients", "number")];
  fixed[0].append(each.user, soft(`session ${each.id}`));
  const button = make("button", {type: "button", className: "danger", textContent: "Disconnect"});
  button.setAttribute("aria-label", `Disconnect ${each.user} at ${each.client}`);
  button.addEventListener("click", () => disconnect(each));
  const last = cell("", "bare wide");
  last.append(button);
  const update = (session, now) => {
    // A client that moves, or gets an address more, stays the same session.
    const where = `${session.client} ${session.relayed}`;
    if (made.dataset.where !== where) {
      made.dataset.where = where;
      fixed[1].replaceChildren(mono(session.client), soft(session.transport.toUpperCase()));
      fixed[2].replaceChildren(...session.relayed.map(mono));
    }
    const texts = [
      span(now - session.since), `in ${span(session.expires - now)}`, `${session.permissions} (${session.channels} ch.)`,
      size(session.traffic.bytes_to_peers), size(session.traffic.bytes_to_clients),
    ];
    changing.forEach((each, index) => { each.textContent = texts[index]; });
  };
  const made = make("tr", {}, ...fixed, ...changing, last);
  return {made, update};
};

const showSessions = (now) => {
  const wanted = $("filter").value.trim().toLowerCase();
  const found = sessions.filter((each) => !wanted || [each.user, each.client, each.id, ...each.relayed].some((text) => text.toLowerCase().includes(wanted)));
  const ids = new Set(found.map((each) => each.id));
  for (const [id, {made}] of rows) {
    if (ids.has(id)) continue;
    // Whoever works by keyboard goes on from the table's title, not from the top of the page.
    if (made.contains(document.activeElement)) $("sessions-title").focus();
    made.remove();
    rows.delete(id);
  }
  found.forEach((each, index) => {
    if (!rows.has(each.id)) rows.set(each.id, newRow(each));
    const {made, update} = rows.get(each.id);
    update(each, now);
    if ($("rows").children[index] !== made) $("rows").insertBefore(made, $("rows").children[index] ?? null);
  });
  $("no-sessions").hidden = found.length > 0;
  $("no-sessions").textContent = wanted && sessions.length ? "No session matches." : "Nobody has an allocation.";
  const all = last.status.sessions;
  $("shown").textContent = all > sessions.length ? `the oldest ${count(sessions.length)} of ${count(all)}` : "";
};

const report = (text) => { $("report").textContent = text; };

const disconnect = async (each) => {
  if (!await confirmed("Disconnect?", `The allocation of ${each.user} at ${each.client} ends at once, and with it what it relays.`, "Disconnect")) return;
  try {
    await ask("/api/disconnect", {session: each.id});
    report(`Session ${each.id} of ${each.user} was ended.`);
  } catch (error) {
    report(error.message);
  }
  await look();
};

$("reload").addEventListener("click", async () => {
  try {
    const {reload} = await ask("/api/reload", {});
    if (reload.error) report(`Nothing was changed: ${reload.error}`);
    else if (reload.needs_restart.length) report(`Reloaded. These count only after a restart: ${reload.needs_restart.join(", ")}.`);
    else report(reload.changed.length ? `Reloaded: ${reload.changed.join(", ")}.` : "Reloaded; no option has another value than before.");
  } catch (error) {
    report(error.message);
  }
});

$("drain").addEventListener("click", async () => {
  if (!await confirmed("Drain and stop?", "No new allocation is granted from now on, and the server stops when the last one has ended. This cannot be taken back.", "Drain")) return;
  try {
    const {drain} = await ask("/api/drain", {});
    report(`Draining; ${count(drain.sessions)} sessions are left.`);
  } catch (error) {
    report(error.message);
  }
  await look();
});

$("sign-out").addEventListener("click", async (event) => {
  event.preventDefault();
  await ask("/sign-out", {});
  location.replace("/sign-in");
});

$("filter").addEventListener("input", () => last && showSessions(last.now));
addEventListener("resize", () => last && showCharts(last.now));

const sample = ({status, now}) => ({
  time: now, sessions: status.sessions, ...status.relayed, bindings: status.bindings,
  refused: sum(status.refusals) + status.peers_refused,
});

const look = async () => {
  try {
    const [state, listed] = await Promise.all([ask("/api/status"), ask(`/api/sessions?limit=${SHOWN}`)]);
    last = state;
    sessions = listed.sessions;
    // Two looks in a moment would make a rate of nothing.
    const newest = samples.length && state.now - samples.at(-1).time < 1 ? [] : [sample(state)];
    samples = samples.concat(newest).filter((each) => each.time >= state.now - SPAN - 10);
    $("lost").hidden = true;
    showStatus(state);
    showSessions(state.now);
  } catch {
    $("lost").hidden = false;
    $("phase").className = "pill bad";
    $("phase").textContent = "No answer";
  }
};

const begin = async () => {
  try {
    samples = (await ask("/api/history")).samples;
  } catch {
    // The first look says what is wrong.
  }
  await keepLooking(look, POLL);
};

begin();
