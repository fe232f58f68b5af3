// The latest images, and all that is known of one of them.

import { arrange, ask, decimal, find, make, moment, plural, today, whole } from "./dom.js";

const COUNT = matchMedia("(max-width: 700px)").matches ? 12 : 24; // at first, and more each time
const MOST = 480;
const THUMBNAIL = 320;
const LARGE = 1600;
const MOST_REGIONS = 20;
const DECISIONS = {
  agree: "agreed: it is a defect", overrule: "overruled: it is good", retake: "wants a retake",
};

let count = COUNT;
let cards = new Map(); // by what can change in them

// Calls `reload` when something else is to be shown.
export function startImages(reload) {
  const filter = find("filter");
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("change", () => {
    count = COUNT;
    reload();
  });
  find("older").addEventListener("click", () => {
    count += COUNT;
    reload();
  });
  const dialog = find("detail");
  find("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
}

export async function loadImages() {
  const filter = new FormData(find("filter"));
  const query = new URLSearchParams({ limit: count });
  for (const [name, value] of filter) if (value.trim()) query.set(name, value.trim());
  const { inspections } = await ask(`/v1/inspections?${query}`);
  const filtered = query.size > 1;
  const shown = new Map();
  for (const own of inspections) {
    const key = `${own.id} ${own.decision?.decision} ${today()}`;
    shown.set(key, cards.get(key) ?? makeCard(own));
  }
  cards = shown;
  arrange(find("images"), [...cards.values()]);
  find("no-images").hidden = inspections.length > 0;
  find("no-images").textContent = filtered ? "There is no such image." : "No image has come yet.";
  find("older").hidden = inspections.length < count || count >= MOST;
  offerCameras(inspections.map((own) => own.camera_id));
}

// Adds cameras to those that images can be chosen by.
export function offerCameras(names) {
  const choice = find("filter").elements.camera_id;
  const known = new Set([...choice.options].map((own) => own.value));
  for (const name of [...new Set(names)].sort())
    if (!known.has(name)) choice.append(make("option", { value: name }, name));
}

function makeCard(own) {
  const picture = own.links.overlay ?? (isReadable(own) ? own.links.image : null);
  return make(
    "button",
    { class: `card ${own.outcome}`, type: "button", click: () => openDetail(own.id) },
    picture
      ? make("img", { src: `${picture}?width=${THUMBNAIL}`, alt: "", loading: "lazy" })
      : make("span", { class: "none" }, whyNoPicture(own)),
    make(
      "span", { class: "caption" },
      make(
        "span", { class: "first" },
        make("b", { class: "badge" }, own.outcome),
        make("time", { datetime: own.received_at }, moment(own.received_at)),
      ),
      make("span", { class: "part" }, own.part_id),
      make(
        "small", {},
        `camera ${own.camera_id}`,
        own.score === null ? null : make("span", { class: "number" }, sayScore(own)),
      ),
      own.decision ? make("small", {}, sayDecision(own)) : null,
    ),
  );
}

const sayScore = (own) => `score ${own.score.toFixed(3)}`;

const sayDecision = ({ decision }) => `${decision.name} ${DECISIONS[decision.decision]}`;

// The file of an image that was never decoded is kept, too, but there is nothing to see in it.
const isReadable = (own) => own.width !== null;

export function whyNoPicture(own) {
  if (own.outcome === "ERROR" && !isReadable(own))
    return "No picture: the image could not be read, or was not inspected.";
  return "No picture: it was not kept, or its time was over and it was removed.";
}

// Shows one of the pictures of an inspection, and lets people choose which; returns whether there
// is one. `onShow` is called with the name and the element of each, before it has loaded.
export function showPicture(place, choice, own, chosen, onShow = () => {}) {
  const { overlay, mask } = own.links;
  const links = { overlay, image: isReadable(own) ? own.links.image : null, mask };
  const names = { overlay: "Overlay", image: "Image", mask: "Mask" };
  const there = Object.keys(links).filter((name) => links[name]);
  const show = (name) => {
    const alt = `${names[name]} of part ${own.part_id}, camera ${own.camera_id}`;
    const fail = () => image.replaceWith(make("p", { class: "none" }, "It cannot be shown."));
    const image = make("img", { src: `${links[name]}?width=${LARGE}`, alt, error: fail });
    place.replaceChildren(image);
    onShow(name, image);
  };
  const selected = there.includes(chosen) ? chosen : there[0];
  const options = there.map((name) =>
    make(
      "label", {},
      make("input", {
        type: "radio", name: `${choice.id}-choice`, value: name, checked: name === selected,
        change: () => show(name),
      }),
      names[name],
    ),
  );
  choice.replaceChildren(choice.querySelector("legend"), ...options);
  choice.hidden = there.length < 2;
  if (selected) show(selected);
  else place.replaceChildren(make("p", { class: "none" }, whyNoPicture(own)));
  return Boolean(selected);
}

// Where a score lies between good and bad.
export function scoreBar(own) {
  if (own.score === null) return make("p", { class: "note" }, "There is no score.");
  const words = sayScore(own);
  if (!own.thresholds) return make("p", { class: "score" }, words);
  const { review, fail } = own.thresholds;
  const limits = `REVIEW from ${decimal(review)}, FAIL from ${decimal(fail)}`;
  const bar = make("div", { class: "score" }, make("p", {}, `${words}; ${limits}`));
  const percent = (value) => `${100 * Math.min(Math.max(value, 0), 1)}%`;
  const scale = make("div", { class: "scale", "aria-hidden": "true" });
  const zones = [["PASS", 0, review], ["REVIEW", review, fail], ["FAIL", fail, 1]];
  for (const [outcome, start, end] of zones) {
    const zone = make("i", { class: outcome });
    zone.style.left = percent(start);
    zone.style.width = percent(end - start);
    scale.append(zone);
  }
  const mark = make("b");
  mark.style.left = percent(own.score);
  scale.append(mark);
  bar.append(scale);
  return bar;
}

async function openDetail(number) {
  const title = find("detail-title");
  title.replaceChildren(`Inspection ${number}`);
  find("detail-picture").replaceChildren();
  find("detail-text").replaceChildren();
  if (!find("detail").open) find("detail").showModal();
  try {
    const own = await ask(`/v1/inspections/${number}`);
    const badge = make("b", { class: `badge ${own.outcome}` }, own.outcome);
    title.replaceChildren(badge, ` ${own.part_id}`);
    showPicture(find("detail-picture"), find("detail-view"), own, "overlay");
    find("detail-text").replaceChildren(...describe(own));
  } catch (error) {
    find("detail-text").replaceChildren(make("p", {}, `It cannot be shown: ${error.message}`));
  }
}

function describe(own) {
  const { queue, inspect, total } = own.times_ms;
  const rows = [
    ["Why", [...own.reasons, own.error].filter(Boolean).join("; ") || "no reason was needed"],
    ["Decision", describeDecision(own)],
    ["Sharpness", describeSharpness(own)],
    ["Belief", own.belief === null ? null : `${decimal(own.belief, 2)}, that it can be trusted`],
    ["Camera", own.camera_id],
    ["Product", own.product || "not known"],
    ["Received", moment(own.received_at)],
    ["Took", `${whole(total)} ms: ${whole(queue)} waiting, ${whole(inspect)} inspecting`],
    ["Size", own.width === null ? "not known" : `${own.width} × ${own.height} pixels`],
    ["Judged by", describeModel(own)],
    ["Image", own.image_sha256.slice(0, 16) || "not known"],
    ["Number", `${own.id}${own.final ? "" : ", not final: the same image may be sent again"}`],
  ];
  const facts = make("dl", {}, ...listFacts(rows));
  return [scoreBar(own), facts, ...describeRegions(own), describeLinks(own)];
}

export function listFacts(rows) {
  return rows
    .filter(([, value]) => value !== null)
    .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
}

function describeDecision(own) {
  if (own.decision === null) return own.outcome === "REVIEW" ? "waits for a person" : null;
  const { outcome, note, decided_at: time } = own.decision;
  const told = `${sayDecision(own)}, so ${outcome}, at ${moment(time)}`;
  return note ? `${told}; “${note}”` : told;
}

function describeSharpness(own) {
  if (own.sharpness === null) return "not measured";
  // 0: of this product, blur alone never misled the model.
  const limit = own.sharpness_limit ? `the limit is ${decimal(own.sharpness_limit)}` : "no limit";
  return `${decimal(own.sharpness)}; ${limit}`;
}

function describeModel(own) {
  if (!own.model_sha256) return "no model";
  return `network ${own.model_sha256.slice(0, 12)}, ${own.precision} by ${own.engine}`;
}

function describeRegions(own) {
  if (!own.regions.length) return [];
  const names = ["Area", "Left, top", "Size", "Score"];
  const head = names.map((name) => make("th", { scope: "col" }, name));
  const rows = own.regions.slice(0, MOST_REGIONS).map(({ area_px: area, bbox_xywh: box, score }) =>
    make(
      "tr", {},
      make("td", {}, `${whole(area)} px`),
      make("td", {}, `${box[0]}, ${box[1]}`),
      make("td", {}, `${box[2]} × ${box[3]}`),
      make("td", {}, score === null ? "none" : score.toFixed(3)),
    ),
  );
  const more = own.regions.length - rows.length;
  return [
    make("h3", {}, plural(own.regions.length, "region")),
    make("div", { class: "wide" }, make("table", {}, make("tr", {}, ...head), ...rows)),
    more > 0 ? make("p", { class: "note" }, `and ${more} more`) : null,
  ].filter(Boolean);
}

function describeLinks(own) {
  const { image, overlay, mask, self } = own.links;
  const names = { "Image file": image, "Overlay file": overlay, "Mask file": mask, "As JSON": self };
  const links = Object.entries(names)
    .filter(([, address]) => address)
    .map(([name, href]) => make("a", { href, target: "_blank", rel: "noopener" }, name));
  return make("p", { class: "links" }, ...links);
}
