"use strict";

/*
 * Three questions to each way into the server: does it answer, does it relay, how well.
 * A STUN server answers with the address that it sees.  A TURN server allocates a relayed address;
 * then two connections of this page, each allowed relayed candidates alone, send data to each other.
 */

const GATHER_LIMIT = 15000;     // milliseconds; a browser gives a silent server up after some ten seconds
const RELAY_LIMIT = 12000;
const MESSAGES = 50;
const SPACING = 20;             // milliseconds between two, as a voice call sends
const PATIENCE = 1500;          // milliseconds that the last one may take
const MOST = 12;                // ways that are tried

const $ = (id) => document.getElementById(id);
const make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const shown = (milliseconds) => milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;

/* What a URI asks for (RFC 7064, RFC 7065); null for what no browser speaks. */
const parse = (uri) => {
  const found = /^(stuns?|turns?):(\[[^\]]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$/i.exec(uri);
  if (!found) return null;
  const [, scheme, host, port, transport] = found;
  const secure = scheme.endsWith("s"), turn = scheme.startsWith("turn");
  const carrier = transport ?? (secure ? "tcp" : "udp");
  if (secure && (carrier === "udp" || !turn)) return null;
  const way = secure ? "TLS" : carrier.toUpperCase();
  const family = host.startsWith("[") ? ", IPv6" : "";
  return {uri, host, port: port ?? (secure ? "5349" : "3478"), turn, way, title: (turn ? `Relay over ${way}` : "Your public address") + family};
};

/* Gather until the server has answered or has been given up. */
const gather = (kind, credentials) => new Promise((resolve) => {
  const begun = performance.now();
  const server = kind.turn ? {urls: kind.uri, username: credentials.username, credential: credentials.password} : {urls: kind.uri};
  const connection = new RTCPeerConnection({iceServers: [server], iceTransportPolicy: kind.turn ? "relay" : "all"});
  let error = null;
  const end = (result) => {
    clearTimeout(timer);
    connection.onicecandidate = connection.onicecandidateerror = null;
    connection.close();
    resolve({time: performance.now() - begun, ...result});
  };
  const timer = setTimeout(() => end({works: false, ...(error ?? {code: 701, text: "no answer"})}), GATHER_LIMIT);
  connection.onicecandidateerror = ({errorCode, errorText}) => {
    // One for each of the machine's own addresses; what the server said itself tells most.
    if (!error || error.code === 701) error = {code: errorCode, text: errorText};
  };
  connection.onicecandidate = ({candidate}) => {
    if (candidate?.candidate && candidate.type === (kind.turn ? "relay" : "srflx")) {
      const host = candidate.address ?? "";
      end({works: true, address: host.includes(":") && !host.startsWith("[") ? `[${host}]:${candidate.port}` : `${host}:${candidate.port}`});
    } else if (!candidate && (error || kind.turn)) {
      end({works: false, ...(error ?? {code: 0, text: "no relayed address"})});
    } else if (!candidate) {
      // An address that is the machine's own is no news to a browser, which then says nothing.
      end({works: true, address: null});
    }
  };
  connection.createDataChannel("gather");
  connection.setLocalDescription().catch((reason) => end({works: false, code: 0, text: String(reason)}));
});

/* Send numbered messages through the relay to ourselves, and count what comes back. */
const relay = async (kind, credentials) => {
  const configuration = {
    iceServers: [{urls: kind.uri, username: credentials.username, credential: credentials.password}],
    iceTransportPolicy: "relay",
  };
  const one = new RTCPeerConnection(configuration), other = new RTCPeerConnection(configuration);
  const begun = performance.now();
  try {
    for (const [from, to] of [[one, other], [other, one]]) {
      from.onicecandidate = ({candidate}) => { if (candidate) to.addIceCandidate(candidate).catch(() => {}); };
    }
    other.ondatachannel = ({channel}) => { channel.onmessage = ({data}) => channel.send(data); };
    // Neither order nor repetition: what is lost stays lost, and is counted.
    const channel = one.createDataChannel("test", {ordered: false, maxRetransmits: 0});
    const opened = new Promise((resolve) => { channel.onopen = () => resolve(true); });
    await one.setLocalDescription();
    await other.setRemoteDescription(one.localDescription);
    await other.setLocalDescription();
    await one.setRemoteDescription(other.localDescription);
    if (!await Promise.race([opened, pause(RELAY_LIMIT).then(() => false)])) return {works: false};
    const setup = performance.now() - begun;
    const sent = new Map(), times = [];
    let all;
    const complete = new Promise((resolve) => { all = resolve; });
    channel.onmessage = ({data}) => {
      const at = sent.get(data);
      if (at === undefined) return;
      sent.delete(data);
      times.push(performance.now() - at);
      if (times.length === MESSAGES) all();
    };
    for (let number = 0; number < MESSAGES; number += 1) {
      sent.set(String(number), performance.now());
      channel.send(String(number));
      await pause(SPACING);
    }
    await Promise.race([complete, pause(PATIENCE)]);
    times.sort((a, b) => a - b);
    return {
      works: times.length > 0, setup, sent: MESSAGES, received: times.length,
      median: times[Math.floor(times.length / 2)], worst: times.at(-1),
    };
  } finally {
    one.close();
    other.close();
  }
};

const WHY = {
  300: "The server sends new clients elsewhere at the moment.",
  401: "The server refused the credentials that it had just made. Its clock may have been set back, or its secrets were just replaced.",
  403: "The server does not relay for your network.",
  437: "The server still holds something of an earlier connection. Try again in a minute.",
  440: "The server has no address of the kind that the browser asks for; browsers ask for IPv4.",
  486: "Too many tests are under way. Try again in a few minutes.",
  500: "The server could not look the credentials up. Try again later.",
  508: "The server takes no new connections: it is full, or about to restart.",
};

const silence = (kind) => ({
  UDP: "Nothing came back. A firewall between you and the server may let no UDP through, which is common in offices and hotels; or nothing listens at this address.",
  TCP: `No connection could be made. A firewall may block port ${kind.port}, or nothing listens there.`,
  TLS: `No secure connection could be made. Port ${kind.port} may be blocked, or the browser does not trust the server’s certificate, which has to name ${kind.host} and come from an authority that browsers know.`,
})[kind.way];

const explain = (kind, result) => WHY[result.code] ?? (result.code === 701 || !result.code ? silence(kind) : `The server answered with error ${result.code} ${result.text}.`);

const setMark = (mark, quality) => {
  mark.className = `mark ${quality}`;
  mark.textContent = {good: "✓", warn: "!", bad: "✕", busy: "", idle: ""}[quality];
};

const addRow = (kind) => {
  const mark = make("span", {className: "mark", ariaHidden: "true"});
  const time = make("span", {className: "time"});
  const said = make("div", {className: "said", textContent: "Waiting"});
  const where = make("div", {className: "mono soft where", textContent: kind.uri});
  $("tests").append(make("li", {}, mark, make("div", {className: "what"},
    make("div", {className: "title"}, make("span", {textContent: kind.title}), time), said, where)));
  return (quality, text, timing = "") => {
    setMark(mark, quality);
    said.textContent = text;
    time.textContent = timing;
  };
};

const tryRelay = async (kind, credentials, show, gathered) => {
  show("busy", "The server gave a relayed address; sending data through it …", shown(gathered.time));
  const result = await relay(kind, credentials);
  if (!result.works) {
    show("bad", `The server gave the relayed address ${gathered.address}, but no data came through it. Its relay ports may be closed to itself, or its public address may be set wrongly.`, shown(gathered.time));
    return result;
  }
  const lost = result.sent - result.received;
  const loss = lost ? `${lost} of ${result.sent} messages were lost` : `all ${result.sent} messages came back`;
  show(lost > result.sent / 20 ? "warn" : "good", `Works: ${loss}, in ${shown(result.median)} through the relay and back, ${shown(result.worst)} at most.`, `ready in ${shown(gathered.time)}`);
  return result;
};

const tryOne = async (kind, credentials, show) => {
  show("busy", "Asking the server …");
  const result = await gather(kind, credentials);
  if (!result.works) {
    show("bad", explain(kind, result), `gave up after ${(result.time / 1000).toFixed(1)} s`);
  } else if (kind.turn) {
    result.relay = await tryRelay(kind, credentials, show, result);
  } else {
    show("good", result.address ? `The server sees you as ${result.address}.` : "The server answers, and sees you as you see yourself: nothing translates your address.", shown(result.time));
  }
  return {uri: kind.uri, kind, ...result};
};

const conclude = (results) => {
  const turn = results.filter(({kind}) => kind.turn);
  const good = turn.filter(({relay: result}) => result?.works);
  const ways = (list) => [...new Set(list.map(({kind}) => kind.way))].join(", ");
  const broken = results.filter((each) => !(each.kind.turn ? each.relay?.works : each.works));
  if (turn.length && !good.length) return ["bad", "This browser cannot use the relay", "Calls that need it will fail from here. What stands below each way says why; another network, such as a phone’s, tells whether it is this one."];
  if (!turn.length) return ["warn", "The server offers no relay that browsers can use", "It tells clients no turn: address over UDP, TCP or TLS."];
  if (broken.length) return ["warn", `The relay works over ${ways(good)}`, "Not each way is open from here. Calls take one that is, so they will work, if perhaps less well."];
  return ["good", "Everything works", `The relay works over ${ways(good)} from this browser.`];
};

const verdict = (quality, title, advice) => {
  setMark($("mark"), quality);
  $("verdict").textContent = title;
  $("advice").textContent = advice;
};

const credentialsFor = async () => {
  const answer = await fetch("/test/credentials", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"});
  if (answer.ok) return answer.json();
  if (answer.status === 429) throw ["warn", "Too many tests at once", `Try again in ${answer.headers.get("Retry-After") ?? "a few"} seconds.`];
  if (answer.status === 503) throw ["warn", "The server is not set up for this test", "It needs a secret to make credentials with. Its operator runs “stun-server secret add”, or sets secrets in the table [users] of the configuration."];
  if (answer.status === 401) throw ["warn", "You are signed out", "Load the page again to sign in."];
  throw ["bad", "The test could not begin", (await answer.text()).trim()];
};

const run = async () => {
  if (!window.RTCPeerConnection) throw ["bad", "This browser has no WebRTC", "Use another one, or switch it on in its settings."];
  const credentials = await credentialsFor();
  const kinds = credentials.uris.map(parse).filter(Boolean).slice(0, MOST);
  $("results").hidden = false;
  const rows = kinds.map((kind) => [kind, addRow(kind)]);
  const results = [];
  for (const [kind, show] of rows) results.push(await tryOne(kind, credentials, show));
  verdict(...conclude(results));
  $("report").textContent = JSON.stringify({
    time: new Date().toISOString(), browser: navigator.userAgent,
    results: results.map(({kind, ...rest}) => rest),
  }, null, 2);
  $("details").hidden = false;
};

$("start").addEventListener("click", async () => {
  const button = $("start");
  button.disabled = true;
  $("tests").replaceChildren();
  $("details").hidden = true;
  verdict("busy", "Testing …", "Please wait; nothing is sent anywhere but to this server.");
  try {
    await run();
  } catch (reason) {
    verdict(...(Array.isArray(reason) ? reason : ["bad", "The test broke off", String(reason)]));
  }
  button.textContent = "Test again";
  button.disabled = false;
});
