// The station's page: asks again what it shows whenever the station tells that something is new.

import { drawHours, drawSharpness, tabulateHours, tabulateSharpness } from "./charts.js";
import {
  arrange, ask, decimal, exactClock, find, make, moment, OUTCOMES, percent, plural, Refusal, say,
  today, Unreachable, watch, whole,
} from "./dom.js";
import { listFacts, loadImages, offerCameras, startImages } from "./images.js";
import { countReviews, loadReviews, startReviews } from "./reviews.js";

const PAUSE_MS = 1000; // between two times of asking
const CAMERAS_PAUSE_MS = 5000; // there is much to tell of them, and it changes slowly
const POLL_MS = 10_000; // without news: alarms end, and connections are lost in silence
const RETRY_MS = 2000;
const FEW_CAMERAS = 6;
const WORST_FIRST = ["LOW", "DEGRADING", "STEADY", "LEARNING", "TOO_FEW"];
const STATUS = {
  LOW: ["below its limit", "FAIL"],
  DEGRADING: ["losing sharpness", "REVIEW"],
  STEADY: ["steady", "PASS"],
  LEARNING: ["learning", "ERROR"],
  TOO_FEW: ["too few images yet", "ERROR"],
};

const PARTS = { state: loadState, images: loadImages, reviews: loadReviews, cameras: loadCameras };
const wanted = new Set();
let asking = false;
let timer = null;
let asked = 0;
let camerasAsked = 0;
let seen = null; // when the station last answered
let lost = false;
let stream = null;
let summary = null;
let cameras = [];
let allCameras = false;
const detailsDiffer = watch();
const hoursDiffer = watch();
const eventsDiffer = watch();
const camerasDiffer = watch();

// ---- what is asked, and when

function want(...names) {
  for (const name of names) wanted.add(name);
  if (timer === null && !asking)
    timer = setTimeout(askForWanted, Math.max(0, asked + PAUSE_MS - Date.now()));
}

function wantAll() {
  want(...Object.keys(PARTS));
}

// Somebody waits for it.
function hurry(...names) {
  clearTimeout(timer);
  timer = null;
  asked = 0;
  want(...names);
}

async function askForWanted() {
  timer = null;
  asking = true;
  asked = Date.now();
  const names = [...wanted].filter(
    (name) => name !== "cameras" || lost || asked >= camerasAsked + CAMERAS_PAUSE_MS,
  );
  wanted.clear(); // cameras that were asked for too soon come with the next poll
  const answers = await Promise.allSettled(names.map((name) => PARTS[name]()));
  asking = false;
  if (names.includes("cameras")) camerasAsked = asked;
  const failed = answers.find((own) => own.status === "rejected");
  if (!failed) recover();
  else lose(failed.reason, answers[names.indexOf("state")]?.status === "fulfilled");
  if (wanted.size) want();
}

function lose(error, knowsState) {
  lost = true;
  setTimeout(wantAll, RETRY_MS);
  const since = seen === null ? "" : ` Last seen at ${exactClock(seen)}.`;
  say(find("lost"), `${sayWhy(error)}${since} What is shown may be out of date.`);
  find("lost").hidden = false;
  if (knowsState) return;
  find("status").className = "unknown";
  say(find("headline"), "The station cannot be reached.");
  showDetails([]);
}

function sayWhy(error) {
  if (error instanceof Unreachable) return "Connection lost.";
  if (error instanceof Refusal) return `The station cannot tell all: ${error.message}`;
  console.error(error);
  return `This page has a fault: ${error.message}.`;
}

function recover() {
  seen = Date.now();
  if (!lost) return;
  lost = false;
  find("lost").hidden = true;
  wantAll();
}

function listen() {
  stream = new EventSource("/v1/stream");
  stream.addEventListener("open", wantAll);
  stream.addEventListener("inspection", wantAll);
  stream.addEventListener("decision", () => want("state", "images", "reviews"));
  stream.addEventListener("event", () => want("state", "cameras"));
  stream.addEventListener("error", () => {
    want("state"); // tells whether it is gone, or wants a login
    if (stream?.readyState !== EventSource.CLOSED) return; // the browser tries again
    stream = null;
    setTimeout(() => document.hidden || stream || listen(), POLL_MS);
  });
}

// ---- what is shown

async function loadState() {
  const { status, last, summary: told } = await ask("/dashboard/state");
  find("status").className = status.tone;
  say(find("headline"), status.headline);
  showDetails(status.details);
  const waits = told?.reviews_waiting ?? 0;
  document.title = `${waits ? `(${waits}) ` : ""}defectseg line: ${status.headline}`;
  if (last) {
    const { outcome, part_id: part, camera_id: camera, received_at: time } = last;
    say(find("last"), `Last image: ${outcome}, part ${part}, camera ${camera}, ${moment(time)}`);
  }
  if (!told) return;
  summary = told;
  showFigures();
  showStation();
  countReviews(waits);
}

function showDetails(details) {
  if (detailsDiffer(details))
    find("details").replaceChildren(...details.map((text) => make("li", {}, text)));
}

function showFigures() {
  const { totals } = summary;
  for (const outcome of OUTCOMES) say(find(`total-${outcome}`), whole(totals[outcome]));
  const inspected = totals.PASS + totals.FAIL + totals.REVIEW;
  say(find("yield"), percent(summary.yield));
  say(find("inspected"), `PASS, of ${whole(inspected)} inspected`);
  // The hour is part of it: a new one begins without an image, too.
  if (hoursDiffer([summary.hours, summary.time.slice(0, 13)])) {
    drawHours(find("hours"), summary, (words) => say(find("hour"), words));
    tabulateHours(find("hours-table"), summary);
  }
}

function showStation() {
  const { model, alarms_not_delivered: undelivered } = summary;
  const facts = [
    ["Model", model ? model.name : "none"],
    ["Network", model && `${model.sha256.slice(0, 12)}, ${model.precision} by ${model.engine}`],
    ["Products", model ? model.products.join(", ") : null],
    ["Watched folder", summary.watched_folder ?? "none; images come by HTTP"],
    ["Waiting", `${whole(summary.waiting)} of at most ${plural(summary.most_waiting, "image")}`],
    ["Alarms not delivered", undelivered ? whole(undelivered) : null],
    ["At work since", moment(summary.started_at)],
  ];
  if (!eventsDiffer([facts, summary.events, today()])) return;
  find("facts").replaceChildren(...listFacts(facts));
  find("events").replaceChildren(...summary.events.map(makeEvent));
}

function makeEvent({ time, kind, message }) {
  return make(
    "li", {},
    make("time", { datetime: time }, moment(time)),
    make("b", {}, kind.replaceAll("_", " ").toLowerCase()),
    make("span", {}, message),
  );
}

async function loadCameras() {
  ({ cameras } = await ask("/v1/cameras"));
  const rank = (own) => WORST_FIRST.indexOf(own.status);
  cameras.sort((one, other) => rank(one) - rank(other));
  offerCameras(cameras.map((own) => own.camera_id));
  if (camerasDiffer([cameras, today()])) showCameras();
}

function showCameras() {
  const shown = allCameras ? cameras : cameras.slice(0, FEW_CAMERAS);
  find("no-cameras").hidden = cameras.length > 0;
  find("all-cameras").hidden = shown.length === cameras.length;
  find("all-cameras").textContent = `All ${cameras.length} cameras`;
  const place = find("camera-list");
  const known = new Map([...place.children].map((own) => [own.dataset.key, own]));
  const panels = shown.map((own) => {
    const key = JSON.stringify([own.camera_id, own.product]);
    return known.get(key) ?? makePanel(key);
  });
  arrange(place, panels);
  shown.forEach((own, index) => fillCamera(panels[index], own));
}

// The table is made once: whoever opened it, or stands in it, is not disturbed by new values.
function makePanel(key) {
  return make(
    "article", { class: "panel camera", "data-key": key },
    make("div", { class: "told" }),
    make(
      "details", { class: "table" },
      make("summary", {}, "As a table"),
      make("div", { class: "wide" }),
    ),
  );
}

function fillCamera(panel, own) {
  const [words, tone] = STATUS[own.status] ?? [own.status, "ERROR"];
  const chart = make("div", { class: "chart" });
  const last = own.latest.at(-1);
  const now = last ? `now ${decimal(last[1])}` : "";
  const limit = own.limit === null ? "no limit" : `limit ${decimal(own.limit)}`;
  const parts = [
    make(
      "div", { class: "bar" },
      make("h3", {}, own.camera_id, make("small", {}, ` ${own.product}`)),
      make("span", { class: "note" }, [now, limit].filter(Boolean).join(", ")),
      make("b", { class: `badge ${tone}` }, words),
    ),
    chart,
    own.days_left ? make("p", { class: "days" }, sayDaysLeft(own.days_left)) : null,
    make("p", {}, `${own.reason.charAt(0).toUpperCase()}${own.reason.slice(1)}.`),
    make("ul", { class: "events" }, ...own.events.slice(-3).reverse().map(makeEvent)),
  ];
  panel.querySelector(".told").replaceChildren(...parts.filter(Boolean));
  drawSharpness(chart, own);
  tabulateSharpness(panel.querySelector(".wide"), own);
}

function sayDaysLeft({ days, low, high }) {
  if (days === null) return "Falling; when it reaches its limit is beyond telling.";
  if (days === 0) return "It has reached its limit.";
  const round = (value) => (value === null ? "beyond telling" : whole(Math.round(value)));
  const about = days < 1 ? "Less than a day" : `About ${plural(Math.round(days), "day")}`;
  return `${about} to its limit (${round(low)} to ${round(high)}).`;
}

// ---- start

let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  if (summary) drawHours(find("hours"), summary, (words) => say(find("hour"), words));
  showCameras();
}).observe(document.body);

find("all-cameras").addEventListener("click", () => {
  allCameras = true;
  showCameras();
});
// A page that nobody sees asks nothing: stations and browsers have few connections to give.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else if (!stream) listen();
});
setInterval(() => document.hidden || wantAll(), POLL_MS);
startImages(() => hurry("images"));
startReviews(() => hurry("state", "reviews"));
listen(); // and, once it is open, ask: what happens in between is not missed
setTimeout(() => asked || wantAll(), PAUSE_MS);
