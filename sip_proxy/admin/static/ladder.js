"use strict";

/* A ladder of messages: a column for who takes part, a row for each message, which opens to show all of it. */
const Ladder = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 34, HEAD = 54, LETTER = 7.3, NARROWEST = 104, WIDEST = 260;

  const node = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const cut = (text, room, letter = LETTER) => {
    const most = Math.max(3, Math.floor(room / letter));
    return text.length > most ? `${text.slice(0, most - 1)}…` : text;
  };

  const label = ({summary, cseq, has_sdp: hasSdp}) => {
    const [word] = summary.split(" ", 1);
    const method = cseq.split(" ")[1] ?? "";
    const isResponse = /^[1-6][0-9][0-9]$/.test(word);
    const text = isResponse && method && method !== "INVITE" ? `${word} (${method})` : isResponse ? summary : word;
    return hasSdp ? `${text} · SDP` : text;
  };

  const quality = (summary) => {
    const status = /^([1-6])[0-9][0-9] /.exec(`${summary} `);
    if (!status) return "request";
    return {1: "soft-arrow", 2: "good", 3: "soft-arrow"}[status[1]] ?? (/^(401|407|487) /.test(`${summary} `) ? "soft-arrow" : "bad");
  };

  const seconds = (value) => value < 10 ? value.toFixed(3) : value < 1000 ? value.toFixed(2) : value.toFixed(0);

  const heads = (participants, places, width, gap) => {
    const drawing = node("svg", {width, height: HEAD, "aria-hidden": "true"});
    participants.forEach((each, index) => {
      const [host, port] = /^(.*):([0-9]+)$/.exec(each.address)?.slice(1) ?? ["", ""];
      const lines = each.address
        ? [["name", each.name || "?", 7.6], ["where", host, 6.7], ["where", `${each.transport} ${port}`, 6.7]]
        : [["name", "this proxy", 7.6]];
      lines.forEach(([kind, text, letter], line) => drawing.append(node("text", {
        class: kind, x: places[index], y: 16 + 15 * line, "text-anchor": "middle",
      }, cut(text, gap - 6, letter))));
      drawing.append(node("title", {}, `${each.name} ${each.transport} ${each.address}`));
    });
    return drawing;
  };

  const rung = (arrow, places, width) => {
    const drawing = node("svg", {width, height: ROW, "aria-hidden": "true"});
    for (const x of places) drawing.append(node("line", {class: "life", x1: x, x2: x, y1: 0, y2: ROW}));
    const from = places[arrow.sender], to = places[arrow.receiver], side = Math.sign(to - from) || 1, y = ROW - 8;
    const group = node("g", {class: `${quality(arrow.summary)}${arrow.is_repeated ? " again" : ""}`});
    group.append(
      node("line", {class: "shaft", x1: from, x2: to - 7 * side, y1: y, y2: y}),
      node("path", {class: "head", d: `M${to} ${y}l${-9 * side} -4.5v9z`}),
      node("text", {class: "label", x: (from + to) / 2, y: y - 7, "text-anchor": "middle"}, cut(label(arrow), Math.abs(to - from) - 10)),
    );
    drawing.append(group);
    return drawing;
  };

  /* Draws into `target`, within `room` pixels where its columns can be so narrow. */
  const draw = (target, {participants, arrows, is_cut: isCut}, room) => {
    const margin = room < 600 ? 52 : 74;
    const gap = Math.min(WIDEST, Math.max(NARROWEST, Math.floor((room - margin) / participants.length)));
    const width = gap * participants.length;
    const places = participants.map((_, index) => gap / 2 + gap * index);
    const list = make("ol");
    let before = arrows[0].time;
    arrows.forEach((arrow, index) => {
      const since = arrow.time - arrows[0].time, delta = arrow.time - before;
      before = arrow.time;
      const names = [arrow.sender, arrow.receiver].map((column) => participants[column].name || participants[column].address);
      const button = make("button", {type: "button", className: "rung"},
        make("span", {className: "time"}, ...(index ? [`+${seconds(delta)}`] : []), make("b", {textContent: seconds(since)})), rung(arrow, places, width));
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-label", `${seconds(since)} s, ${names[0]} to ${names[1]}: ${arrow.summary}${arrow.is_repeated ? ", sent again" : ""}`);
      const row = make("li", {}, button);
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") !== "true";
        button.setAttribute("aria-expanded", String(open));
        if (open) row.append(make("pre", {textContent: arrow.text, tabIndex: 0}));
        else row.lastChild.remove();
      });
      list.append(row);
    });
    target.replaceChildren(
      make("div", {className: "heads"}, make("span", {className: "time"}, "delta", make("b", {textContent: "seconds"})), heads(participants, places, width, gap)),
      list,
      make("p", {className: "small soft legend", textContent: `${isCut ? "There were more messages before. " : ""}Dashed: sent again. Choose a message to see all of it.`}),
    );
  };

  return {draw};
})();
