"use strict";

/* What the pages of both servers have in common: elements, figures as people read them, questions to the server. */

const $ = (id) => document.getElementById(id);

const make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const count = (value) => value >= 1e6 ? scaled(value, ["", "k", "M", "G", "T"], 1000).join("") : whole.format(value);
const scaled = (value, units, step) => {
  let index = 0;
  while (value >= step && index < units.length - 1) { value /= step; index += 1; }
  const digits = index && value < 10 ? 2 : index && value < 100 ? 1 : 0;
  return [value.toFixed(digits), units[index]];
};
const size = (bytes) => scaled(bytes, ["B", "kB", "MB", "GB", "TB"], 1000).join(" ");
const span = (seconds) => {
  const total = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${total % 60} s`;
  return `${total} s`;
};

const ask = async (path, content) => {
  const options = content === undefined ? {} : {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(content),
  };
  const answer = await fetch(path, options);
  if (answer.status === 401) location.replace("/sign-in");
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.status === 204 ? {} : answer.json();
};

const fact = (term, word, quality = "", note = "") => [
  make("dt", {textContent: term}),
  make("dd", {}, make("span", {className: quality ? `status-word ${quality}` : "", textContent: word}),
    ...(note ? [make("span", {className: "soft small", textContent: ` ${note}`})] : [])),
];

/* A question in the page's own dialog; it needs #ask with its parts. */
const confirmed = (title, text, button) => new Promise((resolve) => {
  const dialog = $("ask"), form = dialog.querySelector("form");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = button;
  const answer = (yes) => {
    form.onsubmit = dialog.onclose = null;
    resolve(yes);
  };
  form.onsubmit = ({submitter}) => answer(submitter?.value === "yes");
  // It comes a moment after Escape; by then the next question may be open, which it does not answer.
  dialog.onclose = () => { if (!dialog.open) answer(false); };
  dialog.showModal();
});

/* Looks again and again, as long as somebody sees the page. */
const keepLooking = async (look, milliseconds) => {
  for (;;) {
    await look();
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, {once: true}));
  }
};
