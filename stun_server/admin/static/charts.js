"use strict";

/* Line charts in SVG: one time axis, one value axis from zero, one or two series. */
const Charts = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 62, RIGHT = 6, TOP = 8, BOTTOM = 20;

  const node = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  /* The next of 1, 2, 4, 10, 20 … above, whose halves are round too. */
  const ceiling = (value) => {
    const unit = 10 ** Math.floor(Math.log10(value));
    return unit * ([1, 2, 4].find((step) => step * unit >= value) ?? 10);
  };

  const path = (points, x, y) => {
    let text = "", broken = true;
    for (const [time, value] of points) {
      if (value === null) { broken = true; continue; }
      text += `${broken ? "M" : "L"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
      broken = false;
    }
    return text;
  };

  /* `series`: [{name, points: [[unix time, value or null], …]}]; `span` is seconds of history, `whole` labels whole numbers alone. */
  const draw = (svg, {series, span, now, format, least = 1, whole = false}) => {
    const width = svg.clientWidth || 320, height = svg.clientHeight || 148;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const values = series.flatMap(({points}) => points.map(([, value]) => value ?? 0));
    const top = ceiling(Math.max(least, ...values));
    const x = (time) => LEFT + (width - LEFT - RIGHT) * (1 - (now - time) / span);
    const y = (value) => height - BOTTOM - (height - TOP - BOTTOM) * (value / top);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const level = y(top * share);
      parts.push(node("line", {class: "axis", x1: LEFT, x2: width - RIGHT, y1: level, y2: level}));
      if (!whole || Number.isInteger(top * share)) {
        parts.push(node("text", {class: "label", x: LEFT - 7, y: level + 4, "text-anchor": "end"}, format(top * share)));
      }
    }
    const first = span / 60, step = width > 420 ? Math.max(1, first / 3 | 0) : first;
    for (let minutes = first; minutes >= 0; minutes -= step) {
      const anchor = minutes === first ? "start" : minutes ? "middle" : "end";
      parts.push(node("text", {class: "label", x: x(now - minutes * 60), y: height - 5, "text-anchor": anchor}, minutes ? `−${minutes} min` : "now"));
    }
    for (const {name, points} of series) {
      const inside = points.filter(([time]) => time >= now - span);
      const line = path(inside, x, y);
      const known = inside.filter(([, value]) => value !== null);
      if (known.length > 1 && line.indexOf("M") === line.lastIndexOf("M")) {
        const area = `${line}L${x(known.at(-1)[0]).toFixed(1)} ${y(0)}L${x(known[0][0]).toFixed(1)} ${y(0)}Z`;
        parts.push(node("path", {class: `area ${name}`, d: area}));
      }
      parts.push(node("path", {class: name, d: line}));
    }
    svg.replaceChildren(...parts);
  };

  return {draw};
})();
