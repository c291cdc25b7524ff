"use strict";
// What the pages share: making elements, tables, and the curves of one video with a cursor.
const SVG = "http://www.w3.org/2000/svg";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
function put(parent, name, text, attributes = {}, space = parent.namespaceURI) {
  const element = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return parent.appendChild(element);
}
const percent = (value) => (value === null || value === undefined ? "-" : (100 * value).toFixed(1));

function tableRow(table, cells, heading, chosen) {
  const row = put(table, "tr", null, chosen ? { class: "chosen" } : {});
  cells.forEach((cell) => put(row, heading ? "th" : "td", cell));
  return row;
}

function jump(parent, text, panel, video, at) {
  const button = put(parent, "button", text, { type: "button" });
  button.addEventListener("click", () => { panel.show(video, at); $("curve").focus(); $("curve").scrollIntoView({ block: "start" }); });
  return button;
}

// round numbers inside [from, to]: steps of 1, 2 or 5 times a power of ten, two to six of them
function ticks(from, to) {
  const raw = (to - from) / 6, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const found = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) found.push(Number((i * step).toPrecision(6)));
  return found;
}

// Draws into #curve, fills #video and #readout. videos: name, first, frames, spans.  lines(video): per curve its scores,
// range [low, high] over all videos, style, title, and right (its axis).  thresholds: value and text, on the left axis.
// says(video, at): scores in words.  moved(video number, true frame): called whenever the cursor stands somewhere else.
// The picture is as wide as the page has room for, in its own pixels: letters are as large on a narrow screen.
function curvePanel({ videos, lines, thresholds, says, moved }) {
  const svg = $("curve"), state = { video: 0, at: 0 }, height = 240, letter = 7.2;
  const box = { left: 0, right: 0, top: 10, bottom: 215 };
  let width = 0;
  const across = (i, n) => box.left + (box.right - box.left) * (i + 0.5) / n;
  const level = ([low, high]) => {
    const margin = 0.05 * (high - low) || 0.5, from = low - margin, to = high + margin;
    return { marks: ticks(from, to), up: (s) => box.bottom - (box.bottom - box.top) * (s - from) / (to - from) };
  };

  function axis({ marks, up }, title, right) {
    const x = right ? box.right : box.left, out = right ? 1 : -1, middle = right ? width - 9 : 9;
    for (const value of marks) {
      put(svg, "line", null, { x1: x, x2: x + 5 * out, y1: up(value), y2: up(value), class: "tick" });
      put(svg, "text", String(value), { x: x + 8 * out, y: up(value), "text-anchor": right ? "start" : "end", "dominant-baseline": "central", class: "number" });
    }
    put(svg, "text", title, { x: middle, y: 112, "text-anchor": "middle", "dominant-baseline": "central", transform: `rotate(-90 ${middle} 112)`, class: "title" });
  }

  function draw() {
    const video = videos[state.video], n = video.frames, drawn = lines(video);
    const levels = drawn.map((line) => level(line.range));
    const room = (right) => {  // for the title and the longest number
      const numbers = levels.filter((_, i) => !drawn[i].right === !right).flatMap(({ marks }) => marks);
      return numbers.length ? 28 + letter * Math.max(...numbers.map((value) => String(value).length)) : 10;
    };
    width = Math.max(240, svg.clientWidth);
    box.left = room(false);
    box.right = width - room(true);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    const pattern = put(put(svg, "defs", null), "pattern", null,
      { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    put(pattern, "line", null, { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" });
    for (const [begin, end] of video.spans) {
      const x = across(begin - 0.5, n);
      put(svg, "rect", null, { x, y: box.top, width: across(end - 0.5, n) - x, height: box.bottom - box.top, fill: "url(#hatch)" });
    }
    put(svg, "rect", null, { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, class: "frame" });
    drawn.forEach((line, i) => { if (i === 0 || line.right) axis(levels[i], line.title, line.right); });
    thresholds.forEach((t, i) => {  // their names at both ends, below the line if it is the topmost thing
      const y = levels[0].up(t.value), end = i % 2 === 1;
      put(svg, "line", null, { x1: box.left, x2: box.right, y1: y, y2: y, class: "threshold" });
      put(svg, "text", t.text, { x: end ? box.right - 4 : box.left + 4, y: y - 16 > box.top ? y - 4 : y + 13, "text-anchor": end ? "end" : "start" });
    });
    drawn.forEach((line, i) => put(svg, "polyline", null,
      { points: line.scores.map((s, j) => across(j, n).toFixed(1) + "," + levels[i].up(s).toFixed(1)).join(" "), class: line.style }));
    put(svg, "line", null, { id: "cursor", y1: box.top, y2: box.bottom, class: "cursor" });
    put(svg, "text", "frame " + video.first, { x: box.left, y: 233 });
    put(svg, "text", "frame " + (video.first + n - 1), { x: box.right, y: 233, "text-anchor": "end" });
    svg.setAttribute("aria-valuemin", video.first);
    svg.setAttribute("aria-valuemax", video.first + n - 1);
    $("video").value = state.video;
    moveTo(state.at);
  }

  function moveTo(at) {
    const video = videos[state.video], n = video.frames;
    state.at = Math.max(0, Math.min(n - 1, at));
    const x = across(state.at, n), frame = video.first + state.at;
    $("cursor").setAttribute("x1", x);
    $("cursor").setAttribute("x2", x);
    const abnormal = video.spans.some(([begin, end]) => begin <= state.at && state.at < end);
    const text = `frame ${frame}, ${says(video, state.at)}, ${abnormal ? "abnormal" : "normal"}`;
    $("readout").textContent = text;
    svg.setAttribute("aria-valuenow", frame);
    svg.setAttribute("aria-valuetext", text);
    moved(state.video, frame);
  }

  function show(video, at) { state.video = video; state.at = at; draw(); }

  svg.addEventListener("keydown", (event) => {
    const n = videos[state.video].frames;
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -n, End: n };
    if (!(event.key in steps)) return;
    event.preventDefault();
    moveTo(state.at + steps[event.key]);
  });
  const point = (event) => {
    const area = svg.getBoundingClientRect();
    const x = (event.clientX - area.left) / area.width * width;
    moveTo(Math.floor((x - box.left) / (box.right - box.left) * videos[state.video].frames));
  };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
  videos.forEach((video, i) => put($("video"), "option", video.name, { value: i }));
  $("video").addEventListener("change", (event) => show(Number(event.target.value), 0));
  new ResizeObserver(() => { if (svg.clientWidth && svg.clientWidth !== width) draw(); }).observe(svg);
  return { show };
}
