"use strict";
const POLL = 1000, PICTURES = 150, GONE = 3000;  // milliseconds
const clock = (text) => text.slice(11, 19);
const thousands = (number) => number.toLocaleString("en");

function chart(points) {
  const svg = $("chart"), width = Math.max(svg.clientWidth, 200), height = 170, left = 30, bottom = height - 20;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const last = points.length ? points[points.length - 1][0] : 0, span = 120;
  const top = Math.max(2, ...points.map(([, level]) => level)) * 1.05;
  const x = (seconds) => width - 4 - (last - seconds) / span * (width - left - 4);
  const y = (level) => bottom - Math.max(level, 0) / top * (bottom - 6);
  put(svg, "line", null, { x1: left, x2: width, y1: bottom, y2: bottom, class: "axis" });
  for (const level of [0, 1, Math.floor(top)]) put(svg, "text", String(level), { x: left - 6, y: y(level), "text-anchor": "end", "dominant-baseline": "central" });
  put(svg, "line", null, { x1: left, x2: width, y1: y(1), y2: y(1), class: "threshold" });
  put(svg, "text", "threshold", { x: left + 4, y: y(1) - 5 });
  put(svg, "text", "2 minutes ago", { x: left, y: height - 5 });
  put(svg, "text", "now", { x: width - 2, y: height - 5, "text-anchor": "end" });
  let part = [];
  const draw = () => { if (part.length) put(svg, "polyline", null, { points: part.join(" "), class: "score" }); part = []; };
  points.forEach(([seconds, level], i) => {
    if (last - seconds > span) return;
    if (i && seconds - points[i - 1][0] > 3) draw();  // nothing was scored in between
    part.push(`${x(seconds).toFixed(1)},${y(level).toFixed(1)}`);
  });
  draw();
}

function figures(status) {
  const frames = status.frames, ms = (seconds) => `${Math.round(1000 * seconds)} ms`;
  const rows = [
    ["Frame to score, median", ms(status.latency.median)], ["Frame to score, 95 %", ms(status.latency.p95)],
    ["Scored", thousands(frames.scored)], ["Dropped", thousands(frames.dropped)],
    ["Lost", thousands(frames.lost)], ["Connections", thousands(frames.connections)],
  ];
  if (status.clips.failed + status.clips.dropped) rows.push(["Clips not written", thousands(status.clips.failed + status.clips.dropped)]);
  for (const sink of status.sinks) rows.push([sink.title, `${thousands(sink.sent)} sent, ${thousands(sink.failed + sink.dropped)} not`]);
  $("figures").replaceChildren();
  for (const [name, value] of rows) { put($("figures"), "dt", name); put($("figures"), "dd", value); }
}

const cards = new Map();  // id -> { element, text of the event it was made from }
const answers = new Map();  // id -> what pressing the button has brought: said, and whether it may be pressed again

async function callNormal(event) {
  answers.set(event.id, { said: "Storing …", again: false });
  refresh(event);
  try {
    const answer = await fetch("normal", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ id: event.id }) });
    const said = answer.headers.get("content-type").startsWith("application/json") ? (await answer.json()).said : await answer.text();
    answers.set(event.id, { said, again: answer.status !== 200 });
  } catch { answers.set(event.id, { said: "It could not be stored: no answer.", again: true }); }
  refresh(event);
}

function refresh(event) {
  const card = cards.get(event.id);
  card.made = "";
  fill(card, event);
}

function fill(card, event) {
  const answer = answers.get(event.id) || { said: event.normal ? `Called normal; stored as ${event.normal}.` : "", again: !event.normal };
  const made = JSON.stringify([event, answer]);
  if (card.made === made) return;
  card.made = made;
  const { element } = card, ended = event.change !== "new" && event.change !== "update";
  element.replaceChildren();
  element.className = (ended ? "" : "open ") + (event.kind === "health" ? "fault" : "");
  const until = event.interrupted ? " – interrupted" : ended && event.end ? ` – ${clock(event.end)}` : " – now";
  if (event.kind === "health") {
    const text = put(element, "div", null, { class: "text" });
    put(text, "p", `Camera: ${event.fault}`);
    put(text, "p", `${event.start.slice(0, 10)} ${clock(event.start)}${until}`, { class: "soft" });
    return;
  }
  if (event.thumbnail) {
    const button = put(element, "button", null, { class: "show", type: "button", "aria-label": `Play the clip of event ${event.id}` });
    button.disabled = !event.clip;
    const picture = put(button, "img", null, { alt: `event ${event.id}`, src: `events/${event.id}.jpg?${event.peak_frame}` });
    picture.addEventListener("error", () => { if (card.tries++ < 5) setTimeout(() => { picture.src = `events/${event.id}.jpg?try${card.tries}`; }, 1000); });
    button.addEventListener("click", () => {
      $("video").src = `events/${event.id}.mp4`;
      $("caption").textContent = `Event ${event.id}, ${event.start.slice(0, 10)} ${clock(event.start)}${until}`;
      $("clip").showModal();
    });
  }
  if (event.normal_picture) {
    const figure = put(element, "figure", null, { class: "normally" });
    put(figure, "img", null, { alt: `what is nearest to event ${event.id} in normal video`, src: `events/${event.id}.normal.jpg?${event.peak_frame}` });
    put(figure, "figcaption", "nearest normal example");
  }
  const text = put(element, "div", null, { class: "text" });
  put(text, "p", `${clock(event.start)}${until}`);
  const parts = event.parts.map((name) => name.replaceAll("_", " "));
  put(text, "p", `event ${event.id}, ${event.start.slice(0, 10)}; severity ${event.severity.toFixed(1)}` + (parts.length ? `; ${parts.join(", ")}` : ""), { class: "soft" });
  if (answer.said) put(text, "p", answer.said, { class: "soft" });
  if (answer.again && event.clip) {
    const normal = put(text, "button", "This is normal", { class: "normal", type: "button", title: "Keeps a copy of this clip as normal video for the next ramvid-vad fit --add; nothing changes before that." });
    normal.addEventListener("click", () => callNormal(event));
  }
}

function events(found) {
  $("none").hidden = found.length > 0;
  const list = $("events"), ids = new Set(found.map((event) => event.id));
  for (const [id, card] of cards) if (!ids.has(id)) { card.element.remove(); cards.delete(id); answers.delete(id); }
  found.forEach((event, i) => {
    if (!cards.has(event.id)) cards.set(event.id, { element: document.createElement("li"), made: "", tries: 0 });
    const card = cards.get(event.id);
    fill(card, event);
    if (list.children[i] !== card.element) list.insertBefore(card.element, list.children[i] || null);
  });
}

function health(text, good) {
  $("health").textContent = text;
  $("health").className = "pill " + (good ? "good" : "bad");
}

let answered = Date.now();
async function poll() {
  try {
    const answer = await fetch("status.json");
    if (!answer.ok) throw new Error(await answer.text());
    const status = await answer.json();
    answered = Date.now();
    document.title = `${status.camera}: ramvid-vad watch`;
    $("camera").textContent = status.camera;
    $("source").textContent = status.source === status.camera ? "" : status.source;
    health(status.health === "lost" ? `stream lost: ${status.lost}` : status.health || "picture good", !status.health);
    $("light").textContent = status.light;
    $("light").hidden = !status.light;
    const level = status.points.length ? status.points[status.points.length - 1][1] : null;
    $("level").textContent = level === null ? "–" : Math.max(level, 0).toFixed(2);
    $("level").className = level > 1 ? "over" : "";
    chart(status.points);
    figures(status);
    events(status.events);
  } catch { if (Date.now() - answered > GONE) health("the watch does not answer", false); }
  setTimeout(poll, POLL);
}

let number = 0;
const live = $("live");
const next = (after) => setTimeout(() => { if (document.hidden) next(POLL); else live.src = `live.jpg?${number++}`; }, after);
live.addEventListener("load", () => { live.hidden = false; $("nothing").hidden = true; next(PICTURES); });
live.addEventListener("error", () => next(POLL));
$("clip").addEventListener("close", () => { $("video").removeAttribute("src"); $("video").load(); });
next(0);
poll();
