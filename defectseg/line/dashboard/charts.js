// Charts: verdicts and yield by hour, and the sharpness of a camera. Drawn in the pixels that there
// are, so that letters keep their size.

import {
  clock, day, decimal, draw, make, moment, OUTCOMES, percent, plural, tabulate, whole,
} from "./dom.js";

const HOUR_MS = 3_600_000;
const HOURS = 24;
const ROWS = 12; // of what a camera's chart shows

// A place that is not shown has no width, and a chart cannot have less than none.
const widthOf = (place) => Math.max(place.clientWidth, 200);

// Yield by hour and, below it, verdicts by hour, stacked. `tell` is given what the hour under the
// pointer holds, in words.
export function drawHours(place, summary, tell) {
  const slots = listHours(summary);
  const [width, height] = [widthOf(place), 280];
  const [left, highest, top, bottom] = [48, 10, 96, height - 24];
  const step = (width - left) / HOURS;
  const most = Math.max(1, ...slots.map((slot) => slot.total));
  const ticks = ticksBetween(0, most, 4, 1);
  const yOf = (count) => bottom - ((bottom - top) * count) / most;
  const label = "Yield by hour, images by hour and outcome; the table below has the numbers";
  const chart = draw("svg", { width, height, role: "img", "aria-label": label });
  for (const tick of ticks) chart.append(...gridLine(left, width, yOf(tick), whole(tick)));
  drawYield(chart, slots, (index) => left + (index + 0.5) * step, highest, top - 26);
  const every = [1, 2, 3, 4, 6, 8, 12].find((hours) => hours * step >= 52) ?? HOURS;
  slots.forEach((slot, index) => {
    const x = left + index * step;
    const group = draw("g", {
      class: "hour",
      pointerenter: () => tell(slot.words),
      pointerleave: () => tell(""),
    });
    group.append(
      draw("title", {}, slot.words),
      draw("rect", { class: "behind", x, y: highest, width: step, height: bottom - highest }),
    );
    let below = 0;
    for (const outcome of OUTCOMES) {
      const count = slot.counts[outcome] ?? 0;
      if (!count) continue;
      const [y, end] = [yOf(below + count), yOf(below)];
      // A single ERROR among thousands is seen, too.
      const tall = Math.max(1.5, end - y - 1);
      const box = { x: x + step * 0.14, y: end - tall, width: step * 0.72, height: tall };
      group.append(draw("rect", { class: `fill ${outcome}`, ...box }));
      below += count;
    }
    if ((HOURS - 1 - index) % every === 0) {
      const last = index === HOURS - 1; // in the middle it could be cut off
      const where = { x: last ? width : x + step / 2, "text-anchor": last ? "end" : "middle" };
      group.append(draw("text", { ...where, y: height - 6 }, clock(slot.time)));
    }
    chart.append(group);
  });
  place.replaceChildren(chart);
}

// On a scale of its own, from 0 to 100 %; the line has gaps where nothing was inspected.
function drawYield(chart, slots, xOf, top, bottom) {
  const yOf = (share) => bottom - (bottom - top) * share;
  for (const share of [0, 0.5, 1])
    chart.append(...gridLine(xOf(-0.5), xOf(HOURS - 0.5), yOf(share), `${100 * share} %`));
  const known = (index) => slots[index] && slots[index].yield !== null;
  const places = slots.map((slot, index) => [xOf(index), yOf(slot.yield)]);
  const steps = places.map(([x, y], index) => `${known(index - 1) ? "L" : "M"}${x} ${y}`);
  const d = steps.filter((_, index) => known(index)).join("");
  chart.append(draw("path", { class: "average", d }));
  places.forEach(([cx, cy], index) => {
    if (known(index)) chart.append(draw("circle", { class: "share", cx, cy, r: 3 }));
  });
}

export function tabulateHours(place, summary) {
  const slots = listHours(summary).filter((slot) => slot.total);
  const rows = slots.map((slot) => [
    slot.name,
    ...OUTCOMES.map((name) => whole(slot.counts[name] ?? 0)),
    percent(slot.yield),
  ]);
  place.replaceChildren(
    rows.length ? tabulate(["Hour", ...OUTCOMES, "Yield"], rows) : "No image came in these hours.",
  );
}

// The last 24 hours of the station's clock, also those without an image.
function listHours(summary) {
  const counts = new Map(summary.hours.map((own) => [Date.parse(`${own.hour}:00:00Z`), own]));
  const last = Math.floor(Date.parse(summary.time) / HOUR_MS) * HOUR_MS;
  return Array.from({ length: HOURS }, (_, index) => {
    const time = last - (HOURS - 1 - index) * HOUR_MS;
    const own = counts.get(time) ?? {};
    const name = `${day(time)}, ${clock(time)} to ${clock(time + HOUR_MS)}`;
    const parts = OUTCOMES.filter((outcome) => own[outcome]);
    const words = parts.map((outcome) => `${whole(own[outcome])} ${outcome}`).join(", ");
    const total = parts.reduce((sum, outcome) => sum + own[outcome], 0);
    const inspected = total - (own.RETAKE ?? 0) - (own.ERROR ?? 0);
    const share = inspected ? (own.PASS ?? 0) / inspected : null;
    const told = share === null ? "" : `; yield ${percent(share)}`;
    return {
      time, counts: own, total, yield: share, name, words: `${name}: ${words || "no image"}${told}`,
    };
  });
}

// Single values and, once there are enough for them, medians: each with a time of its own, as the
// ones tell of hours and the others of months; on one scale, with one limit.
export function drawSharpness(place, camera) {
  const values = camera.latest.map(([time, value]) => ({ time: Date.parse(time), value }));
  const medians = camera.points.map((own) => ({ ...own, time: Date.parse(own.time) }));
  const [width, height] = [widthOf(place), 190];
  const [left, top, bottom] = [44, 24, height - 24];
  const sorted = values.map((own) => own.value).sort((a, b) => a - b);
  const part = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  // An image that is far off must not flatten the rest: it is drawn at the edge.
  const seen = [
    part(0.02), part(0.98), camera.limit,
    ...medians.flatMap((own) => [own.median, own.ewma]),
  ].filter((value) => Number.isFinite(value));
  const [least, most] = [Math.min(...seen), Math.max(...seen)];
  const margin = 0.08 * (most - least) || 0.1 * Math.abs(most) || 1;
  const [low, high] = [least - margin, most + margin];
  const yOf = (value) =>
    bottom - ((bottom - top) * (Math.min(Math.max(value, low), high) - low)) / (high - low);

  const chart = draw("svg", { width, height, role: "img", "aria-label": describeSharpness(camera) });
  for (const tick of ticksBetween(low, high, 5))
    chart.append(...gridLine(left, width, yOf(tick), decimal(tick)));
  if (camera.limit !== null) {
    const y = yOf(camera.limit);
    chart.append(draw("path", { class: "limit", d: `M${left} ${y}H${width}` }));
  }
  const middle = medians.length ? left + 0.58 * (width - left) : left;
  if (medians.length) {
    const xOf = panel(chart, medians, left, middle - 16, height, "medians");
    const line = medians.filter((own) => own.ewma !== null);
    for (const event of camera.events) chart.append(eventMark(event, xOf, top, bottom));
    for (const own of medians)
      chart.append(draw("circle", { class: "ring", cx: xOf(own.time), cy: yOf(own.median), r: 2.5 }));
    if (line.length > 1)
      chart.append(
        draw("polyline", {
          class: "average",
          points: line.map((own) => `${xOf(own.time)},${yOf(own.ewma)}`).join(" "),
        }),
      );
    chart.append(draw("path", { class: "divide", d: `M${middle - 4} ${top - 16}V${height}` }));
  }
  if (values.length) {
    const xOf = panel(chart, values, middle + 6, width - 6, height, plural(values.length, "image"));
    for (const own of values)
      chart.append(
        draw(
          "circle",
          { class: "dot", cx: xOf(own.time), cy: yOf(own.value), r: 2.2 },
          draw("title", {}, `${day(own.time)}, ${clock(own.time)}: ${decimal(own.value)}`),
        ),
      );
  }
  place.replaceChildren(chart);
}

// The last values that the chart shows, the newest first.
export function tabulateSharpness(place, camera) {
  const values = camera.latest.map(([time, value]) => [moment(time), decimal(value)]);
  const medians = camera.points.map((own) => [
    moment(own.time), decimal(own.median), decimal(own.ewma),
  ]);
  const parts = [
    [["Image", "Sharpness"], values],
    [["Median", "Sharpness", "Moving average"], medians],
  ].filter(([, rows]) => rows.length);
  const last = (rows) => rows.slice(-ROWS).reverse();
  place.replaceChildren(...parts.map(([names, rows]) => tabulate(names, last(rows))));
}

// Writes above and below a part of a chart what it shows and from when to when; returns how times
// become places.
function panel(chart, items, left, right, height, name) {
  const [first, last] = [items[0].time, items.at(-1).time];
  const write = day(first) === day(last) ? clock : day;
  chart.append(draw("text", { x: left, y: 12 }, name));
  if (last > first) chart.append(draw("text", { x: left, y: height - 6 }, write(first)));
  chart.append(draw("text", { x: right, y: height - 6, "text-anchor": "end" }, write(last)));
  return (time) => (last > first ? left + ((right - left) * (time - first)) / (last - first) : right);
}

function eventMark(event, xOf, top, bottom) {
  const x = xOf(Date.parse(event.time));
  return draw(
    "g",
    { class: `event ${event.kind}` },
    draw("title", {}, `${day(event.time)}: ${event.kind}, ${event.message}`),
    draw("path", { d: `M${x} ${top - 2}V${bottom}` }),
    draw("path", { class: "flag", d: `M${x - 5} ${top - 9}h10l-5 8z` }),
  );
}

function describeSharpness(camera) {
  const last = camera.latest.at(-1);
  const now = last ? `the last image ${decimal(last[1])}` : "no image yet";
  const limit = camera.limit === null ? "no limit" : `limit ${decimal(camera.limit)}`;
  return `Sharpness of camera ${camera.camera_id}, product ${camera.product}: ${now}, ${limit}`;
}

function gridLine(left, right, y, text) {
  return [
    draw("path", { class: "grid", d: `M${left} ${y}H${right}` }),
    draw("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, text),
  ];
}

// Round numbers between two, about as many as wanted.
function ticksBetween(low, high, wanted, finest = 0) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const round = [1, 2, 5].find((factor) => factor * power >= raw) ?? 10;
  const step = Math.max(finest, round * power);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, index) => (first + index) * step);
}
