// What every part of the page needs: elements, requests, and how numbers and times are written.

const LANGUAGE = "en-GB"; // that of the page's words
const PATIENCE_MS = 10_000; // for an answer, after which the connection counts as lost
const SVG = "http://www.w3.org/2000/svg";

export const OUTCOMES = ["PASS", "FAIL", "REVIEW", "RETAKE", "ERROR"];

export const find = (id) => document.getElementById(id);

// Text is only ever added as text: names and reasons come from clients.
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A table; the first cell of a row names it.
export function tabulate(names, rows) {
  const head = names.map((name) => make("th", { scope: "col" }, name));
  const write = ([name, ...values]) =>
    make(
      "tr", {},
      make("th", { scope: "row" }, name),
      ...values.map((value) => make("td", {}, value)),
    );
  return make("table", {}, make("tr", {}, ...head), ...rows.map(write));
}

// Puts elements in their order and moves only those that are new, so that focus and hover stay.
export function arrange(place, elements) {
  let next = place.firstChild;
  for (const element of elements) {
    if (element === next) next = next.nextSibling;
    else place.insertBefore(element, next);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

// Screen readers announce what is set, also if it says the same.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Returns a function that tells whether a value differs from the one before.
export function watch() {
  let last;
  return (value) => {
    const text = JSON.stringify(value);
    const differs = text !== last;
    last = text;
    return differs;
  };
}

// The station did not answer.
export class Unreachable extends Error {}

// The station answered, but not with what was asked for.
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(address, options = {}) {
  let answer, body;
  try {
    answer = await fetch(address, { signal: AbortSignal.timeout(PATIENCE_MS), ...options });
    body = await answer.json();
  } catch (error) {
    throw new Unreachable(error.message);
  }
  if (answer.status === 401) {
    location.assign("/login");
    return new Promise(() => {}); // the page is left
  }
  if (!answer.ok) throw new Refusal(answer.status, body.reasons.join(" "));
  return body;
}

export const clock = (time) =>
  new Date(time).toLocaleTimeString(LANGUAGE, { hour: "2-digit", minute: "2-digit" });

export const exactClock = (time) => new Date(time).toLocaleTimeString(LANGUAGE);

export const day = (time) =>
  new Date(time).toLocaleDateString(LANGUAGE, { day: "numeric", month: "short" });

export const today = () => day(Date.now());

// The time of today; of other days with the day, which what is shown for long must follow.
export function moment(time) {
  return day(time) === today() ? exactClock(time) : `${day(time)}, ${exactClock(time)}`;
}

export const whole = (value) => value.toLocaleString(LANGUAGE);

export const decimal = (value, digits = 3) =>
  value === null ? "none" : value.toLocaleString(LANGUAGE, { maximumSignificantDigits: digits });

export const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);

export const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
