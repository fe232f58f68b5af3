// Images that wait for a person, and what the person decides.

import { arrange, ask, find, make, moment, plural, Refusal, whole } from "./dom.js";
import { scoreBar, showPicture } from "./images.js";

const COUNT = 100; // at first, and more each time
const NAME = "defectseg name"; // in the browser's storage
const BY_KEYS = "defectseg keys"; // there, too
const SETTLE_MS = 600; // in which a second click, meant for the one before, decides nothing
const UNDO_MS = 5000;
const ALONE_MS = 150; // a barcode scanner types faster than this
const SAID = { agree: "a defect", overrule: "good", retake: "to be taken again" };
const KEYS = { a: "agree", o: "overrule", r: "retake" };

let count = COUNT;
let waiting = []; // the oldest first
let current = null; // never changed while a person looks at it, unless somebody else decides it
let view = "overlay";
let settled = false; // the current one is in sight for long enough that a click is meant for it
let seen = false; // and so is its picture
const unsent = []; // decisions that can be undone
const decided = new Set(); // sent or not: the station may still tell of them
const buttons = [...document.querySelectorAll("#decide [value]")];

// Calls `reload` when more is to be shown.
export function startReviews(reload) {
  const name = find("name");
  name.value = localStorage.getItem(NAME) ?? "";
  name.addEventListener("input", () => localStorage.setItem(NAME, name.value.trim()));
  find("decide").addEventListener("submit", (event) => event.preventDefault());
  for (const button of buttons) button.addEventListener("click", () => decide(button.value));
  find("undo").addEventListener("click", undo);
  find("more-reviews").addEventListener("click", () => {
    count += COUNT;
    reload();
  });
  listenToKeys();
}

export async function loadReviews() {
  const oldest = await listOldest();
  find("more-reviews").hidden = oldest.length < count;
  waiting = oldest.filter((own) => !decided.has(own.id));
  if (!current) show(waiting[0]);
  else if (!waiting.some((own) => own.id === current.id)) await replaceCurrent();
  arrangeQueue();
}

async function listOldest() {
  const found = [];
  let part;
  do {
    const after = found.at(-1)?.id ?? 0;
    const address = `/v1/inspections?undecided=true&after=${after}&limit=${COUNT}`;
    ({ inspections: part } = await ask(address));
    found.push(...part);
  } while (part.length === COUNT && found.length < count);
  return found;
}

// It waits no longer.
async function replaceCurrent() {
  const own = current;
  const { decision } = await ask(own.links.self);
  if (own !== current || decision === null) return;
  const what = `by ${decision.name}: ${SAID[decision.decision]}`;
  if (!decided.has(own.id)) tell(`Part ${own.part_id} was decided meanwhile, ${what}.`);
  show(waiting[0]);
}

function show(next) {
  current = next ?? null;
  showNothing();
  find("review").hidden = current === null;
  find("note").value = "";
  if (!current) return;
  const { part_id: part, camera_id: camera, product, received_at: time, reasons } = current;
  find("review-part").textContent = `Part ${part}`;
  find("review-told").textContent = `camera ${camera}, product ${product}, ${moment(time)}`;
  find("review-score").replaceChildren(scoreBar(current));
  find("review-reasons").replaceChildren(...reasons.map((text) => make("li", {}, text)));
  settled = seen = false;
  setTimeout(() => {
    if (next !== current) return;
    settled = true;
    showAllowed();
  }, SETTLE_MS);
  showAllowed();
  showPart();
}

function showPart() {
  const warn = () => {
    find("unseen-part").hidden = seen;
  };
  const look = (name, picture) => {
    if (name === "mask") return warn(); // in it the part is not seen
    view = name;
    const settle = () => {
      if (!picture.isConnected) return; // another one is shown meanwhile
      seen = true;
      warn();
      showAllowed();
    };
    picture.addEventListener("load", () => setTimeout(settle, SETTLE_MS));
    picture.addEventListener("error", warn);
  };
  find("unseen-part").hidden = true;
  if (!showPicture(find("review-picture"), find("review-view"), current, view, look)) warn();
}

// A part that nobody can see is neither good nor bad.
const isAllowed = (decision) => seen || (settled && decision === "retake");

// Not by "disabled": that would take the focus away.
function showAllowed() {
  for (const button of buttons) button.setAttribute("aria-disabled", !isAllowed(button.value));
}

function arrangeQueue() {
  const place = find("queue");
  place.hidden = waiting.length < 2;
  const known = new Map([...place.children].map((own) => [own.dataset.id, own]));
  const items = waiting.map((own) => known.get(String(own.id)) ?? makeItem(own));
  arrange(place, items);
  for (const item of items) item.setAttribute("aria-pressed", item.dataset.id === String(current?.id));
}

function makeItem(own) {
  const picture = own.links.overlay;
  const name = `Part ${own.part_id}`;
  const choose = () => {
    show(own);
    arrangeQueue();
  };
  return make(
    "button",
    { type: "button", "data-id": own.id, title: name, "aria-label": name, click: choose },
    picture ? make("img", { src: `${picture}?width=160`, alt: "", loading: "lazy" }) : "no picture",
  );
}

function decide(decision) {
  if (!current || !isAllowed(decision)) return;
  const name = find("name");
  if (!name.value.trim()) {
    tell("Write your name first: it is recorded with the decision.", true);
    name.focus();
    return;
  }
  const held = { own: current, decision, name: name.value.trim(), note: find("note").value.trim() };
  held.timer = setTimeout(send, UNDO_MS, held);
  unsent.push(held);
  const seconds = UNDO_MS / 1000;
  tell(`Part ${current.part_id} is ${SAID[decision]}: recorded in ${seconds} seconds.`);
  moveUp(current);
  offerUndo();
}

// What is recorded stands for good, so it can be undone before. If the page is closed until then,
// nothing is sent, and the image waits on.
async function send(held) {
  unsent.splice(unsent.indexOf(held), 1);
  offerUndo();
  const { own, decision, name, note } = held;
  const body = JSON.stringify({ decision, name, note });
  try {
    await ask(`/v1/inspections/${own.id}/decision`, {
      method: "POST", headers: { "content-type": "application/json" }, body,
    });
    if (!unsent.length) tell(`Recorded: part ${own.part_id} is ${SAID[decision]}.`);
  } catch (error) {
    const part = `part ${own.part_id}`;
    if (error.status === 409) {
      tell(`Not recorded, as ${part} is decided already. ${error.message}`, true);
      return;
    }
    const why = error instanceof Refusal ? error.message : "The station did not answer.";
    tell(`Please decide again on ${part}: it was not recorded. ${why}`, true);
    waitAgain(own);
  }
}

function undo() {
  const held = unsent.pop();
  if (!held) return;
  clearTimeout(held.timer);
  tell(`Undone: part ${held.own.part_id} waits again.`);
  show(held.own);
  find("note").value = held.note;
  waitAgain(held.own);
  find("review-part").focus({ preventScroll: true });
  offerUndo();
}

function waitAgain(own) {
  decided.delete(own.id);
  waiting = [...waiting, own].sort((one, other) => one.id - other.id);
  if (!current) show(own);
  arrangeQueue();
}

function offerUndo() {
  const last = unsent.at(-1);
  find("undo").hidden = !last;
  if (last) find("undo").textContent = `Undo: part ${last.own.part_id}`;
  showNothing();
}

function showNothing() {
  find("nothing-waits").hidden = current !== null || unsent.length > 0;
}

function moveUp(gone) {
  decided.add(gone.id);
  const place = waiting.findIndex((own) => own.id === gone.id);
  waiting = waiting.filter((own) => own.id !== gone.id);
  if (current?.id === gone.id) {
    const hadFocus = find("decide").contains(document.activeElement);
    show(waiting[place] ?? waiting[0]);
    // Away from the button: Enter, held down, must not decide on the next one.
    if (hadFocus && current) find("review-part").focus({ preventScroll: true });
    if (current && !isInSight()) find("reviews").scrollIntoView();
  }
  arrangeQueue();
}

// A, O and R decide, if that is switched on, the picture is in sight and nobody is typing.
function listenToKeys() {
  const keys = find("keys");
  keys.checked = localStorage.getItem(BY_KEYS) !== null;
  keys.addEventListener("change", () => {
    if (keys.checked) localStorage.setItem(BY_KEYS, "on");
    else localStorage.removeItem(BY_KEYS);
  });
  let last = 0;
  let soon;
  document.addEventListener("keydown", (event) => {
    const alone = event.timeStamp - last > ALONE_MS;
    last = event.timeStamp;
    clearTimeout(soon);
    const decision = KEYS[event.key.toLowerCase()];
    const typing = event.target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
    const other = event.ctrlKey || event.altKey || event.metaKey || event.repeat;
    if (!decision || !alone || typing || other || !current || find("detail").open) return;
    // Where the switch is hidden, as on a phone, it could not be turned off.
    if (!keys.checked || !keys.checkVisibility()) return;
    if (isInSight()) soon = setTimeout(() => decide(decision), ALONE_MS);
    else find("reviews").scrollIntoView();
  });
}

function isInSight() {
  const { top, bottom } = find("review-picture").getBoundingClientRect();
  return top + bottom > 0 && top + bottom < 2 * innerHeight;
}

function tell(text, wrong = false) {
  const place = find("said");
  place.textContent = text;
  place.classList.toggle("wrong", wrong);
}

export function countReviews(all) {
  const badge = find("waiting");
  badge.textContent = whole(all);
  badge.hidden = all === 0;
  const shown = all > count ? `; the oldest ${whole(count)} are shown` : "";
  find("reviews-title").textContent = all
    ? `${plural(all, "image")} wait${all === 1 ? "s" : ""} for a person${shown}`
    : "Waiting for a person";
}
