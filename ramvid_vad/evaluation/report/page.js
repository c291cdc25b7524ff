"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const put = (parent, name, text, attributes = {}) => {
    const space = parent.namespaceURI === "http://www.w3.org/2000/svg" ? parent.namespaceURI : "http://www.w3.org/1999/xhtml";
    const element = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    return parent.appendChild(element);
  };
  const percent = (value) => (value === null || value === undefined ? "-" : (100 * value).toFixed(1));
  const state = { video: 0, at: 0 };

  // all videos share one scale, as the micro AUC sees them
  let low = Infinity, high = -Infinity;
  for (const video of data.videos) for (const s of video.scores) { low = Math.min(low, s); high = Math.max(high, s); }
  for (const t of data.thresholds) { low = Math.min(low, t.value); high = Math.max(high, t.value); }
  const margin = 0.05 * (high - low) || 0.5;
  low -= margin; high += margin;
  const box = { left: 80, right: 890, top: 10, bottom: 215 };
  const across = (i, n) => box.left + (box.right - box.left) * (i + 0.5) / n;
  const up = (s) => box.bottom - (box.bottom - box.top) * (s - low) / (high - low);

  // round numbers inside [from, to]: steps of 1, 2 or 5 times a power of ten, three to six of them
  function ticks(from, to) {
    const raw = (to - from) / 4, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
    const found = [];
    for (let i = Math.ceil(from / step); i * step <= to; i++) found.push(Number((i * step).toPrecision(6)));
    return found;
  }

  function drawVideo() {
    const svg = $("curve"), video = data.videos[state.video], n = video.scores.length;
    svg.replaceChildren();
    const pattern = put(put(svg, "defs", null), "pattern", null,
      { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    put(pattern, "line", null, { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" });
    for (const [begin, end] of video.spans) {
      const x = across(begin - 0.5, n);
      put(svg, "rect", null, { x, y: box.top, width: across(end - 0.5, n) - x, height: box.bottom - box.top, fill: "url(#hatch)" });
    }
    put(svg, "rect", null, { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, class: "frame" });
    for (const value of ticks(low, high)) {
      put(svg, "line", null, { x1: box.left - 5, x2: box.left, y1: up(value), y2: up(value), class: "tick" });
      put(svg, "text", String(value), { x: box.left - 8, y: up(value), "text-anchor": "end", "dominant-baseline": "central" });
    }
    put(svg, "text", "score", { x: 14, y: 112, "text-anchor": "middle", transform: "rotate(-90 14 112)" });
    for (const t of data.thresholds) {
      put(svg, "line", null, { x1: box.left, x2: box.right, y1: up(t.value), y2: up(t.value), class: "threshold" });
      put(svg, "text", "threshold: " + t.rule.replace("_", " "), { x: box.left + 4, y: up(t.value) - 4 });
    }
    put(svg, "polyline", null, { points: video.scores.map((s, i) => across(i, n).toFixed(1) + "," + up(s).toFixed(1)).join(" "), class: "score" });
    put(svg, "line", null, { id: "cursor", y1: box.top, y2: box.bottom, class: "cursor" });
    put(svg, "text", "frame " + video.first, { x: box.left, y: 233 });
    put(svg, "text", "frame " + (video.first + n - 1), { x: box.right, y: 233, "text-anchor": "end" });
    svg.setAttribute("aria-valuemin", video.first);
    svg.setAttribute("aria-valuemax", video.first + n - 1);
    $("video").value = state.video;
    moveTo(state.at);
  }

  function moveTo(at) {
    const video = data.videos[state.video], n = video.scores.length;
    state.at = Math.max(0, Math.min(n - 1, at));
    const x = across(state.at, n), frame = video.first + state.at;
    $("cursor").setAttribute("x1", x);
    $("cursor").setAttribute("x2", x);
    const abnormal = video.spans.some(([begin, end]) => begin <= state.at && state.at < end);
    const text = `frame ${frame}, score ${video.scores[state.at]}, ${abnormal ? "abnormal" : "normal"}`;
    $("readout").textContent = text;
    $("curve").setAttribute("aria-valuenow", frame);
    $("curve").setAttribute("aria-valuetext", text);
    showPictures(frame);
  }

  function nearest(video, frame) {
    const stored = data.pictures ? data.pictures.videos[video] : [];
    return stored.reduce((best, p) => (best && Math.abs(best.frame - frame) <= Math.abs(p.frame - frame) ? best : p), null);
  }
  const source = (jpeg) => "data:image/jpeg;base64," + jpeg;

  function showPictures(frame) {
    const found = nearest(state.video, frame);
    $("pictures").hidden = !found;
    if (!found) {
      $("shown").textContent = data.pictures ? "No frame of this video is stored." : "This report holds scores only, no frames.";
      return;
    }
    $("shown").textContent = found.frame === frame ? `frame ${frame} shown` : `frame ${found.frame} shown, cursor at ${frame}`;
    for (const name of ["input", "infilled", "residual"]) {
      $(name).src = source(found[name]);
      $(name).alt = `${name}, frame ${found.frame}` + (name === "residual" ? `, ${found.boxes.length} blobs` : "");
    }
    const count = found.boxes.length;
    $("scale").textContent = `(black 0, white ${found.white} of full range), ${count} ${count === 1 ? "blob" : "blobs"}`;
    drawBoxes($("boxes"), found);
  }

  // black under dashed white: seen on any grey, without a colour
  function drawBoxes(svg, picture) {
    const [height, width] = data.pictures.size;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    for (const [x, y, x1, y1] of picture.boxes)
      for (const name of ["under", "over"]) put(svg, "rect", null, { x, y, width: x1 - x, height: y1 - y, class: name });
  }

  function show(video, at) { state.video = video; state.at = at; drawVideo(); }

  $("curve").addEventListener("keydown", (event) => {
    const n = data.videos[state.video].scores.length;
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -n, End: n };
    if (!(event.key in steps)) return;
    event.preventDefault();
    moveTo(state.at + steps[event.key]);
  });
  const point = (event) => {
    const area = $("curve").getBoundingClientRect();
    const x = (event.clientX - area.left) / area.width * 900;
    moveTo(Math.floor((x - box.left) / (box.right - box.left) * data.videos[state.video].scores.length));
  };
  $("curve").addEventListener("pointerdown", point);
  $("curve").addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
  data.videos.forEach((video, i) => put($("video"), "option", video.name, { value: i }));
  $("video").addEventListener("change", (event) => show(Number(event.target.value), 0));

  function tableRow(table, cells, heading, chosen) {
    const row = put(table, "tr", null, chosen ? { class: "chosen" } : {});
    cells.forEach((cell) => put(row, heading ? "th" : "td", cell));
    return row;
  }
  tableRow($("rows"), ["", data.columns[0].title, "95 % interval", ...data.columns.slice(1).map((c) => c.title)], true);
  data.rows.forEach((row, i) => tableRow($("rows"), [
    (row.null ? "null: " : "") + row.title + (row.sd === null ? "" : ` (sd ${percent(row.sd)})`),
    percent(row.metrics[data.columns[0].key]),
    row.interval ? row.interval.map(percent).join(" to ") : "-",
    ...data.columns.slice(1).map((c) => percent(row.metrics[c.key])),
  ], false, i === data.headline));

  const worst = data.videos.map((video, i) => ({ video, i }))
    .sort((a, b) => (a.video.auc ?? 2) - (b.video.auc ?? 2) || a.i - b.i);
  tableRow($("videos"), ["video", "AUC, %", "frames", "abnormal"], true);
  for (const { video, i } of worst) {
    const abnormal = video.spans.reduce((sum, [begin, end]) => sum + end - begin, 0);
    const row = tableRow($("videos"), ["", video.auc === null ? "undefined (one class)" : percent(video.auc), video.scores.length, abnormal]);
    jump(row.firstChild, video.name, i, 0);
  }
  function jump(parent, text, video, at) {
    const button = put(parent, "button", text, { type: "button" });
    button.addEventListener("click", () => { show(video, at); $("curve").focus(); $("curve").scrollIntoView({ block: "start" }); });
    return button;
  }
  for (const kind of ["false_alarms", "misses"]) {
    for (const e of data.events[kind]) {
      const video = data.videos[e.video];
      const button = jump(put($(kind), "li", null), `${video.name}, frame ${video.first + e.at}: peak ${e.score}`, e.video, e.at);
      const found = nearest(e.video, video.first + e.at);
      if (!found) continue;
      const row = put(button, "span", null, { class: "thumbnails" });
      for (const name of ["input", "infilled"]) put(row, "img", null, { src: source(found[name]), alt: name });
      const boxed = put(row, "span", null, { class: "boxed" });
      put(boxed, "img", null, { src: source(found.residual), alt: `residual, ${found.boxes.length} blobs` });
      drawBoxes(boxed.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg")), found);
    }
  }

  function plot(id, points, names) {
    const svg = $(id), x = (v) => 50 + 260 * v, y = (v) => 270 - 260 * v;
    put(svg, "rect", null, { x: 50, y: 10, width: 260, height: 260, class: "frame" });
    put(svg, "text", names[0], { x: 180, y: 312, "text-anchor": "middle" });
    put(svg, "text", names[1], { x: 12, y: 140, "text-anchor": "middle", transform: "rotate(-90 12 140)" });
    for (const v of [0, 0.25, 0.5, 0.75, 1]) {
      put(svg, "line", null, { x1: 45, x2: 50, y1: y(v), y2: y(v), class: "tick" });
      put(svg, "text", v, { x: 42, y: y(v), "text-anchor": "end", "dominant-baseline": "central" });
      put(svg, "line", null, { x1: x(v), x2: x(v), y1: 270, y2: 275, class: "tick" });
      put(svg, "text", v, { x: x(v), y: 289, "text-anchor": v === 1 ? "end" : "middle" });
    }
    if (!points) { put(svg, "text", "undefined: one class only", { x: 90, y: 150 }); return; }
    if (id === "roc") put(svg, "line", null, { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "chance" });
    put(svg, "polyline", null, { points: points.map(([a, b]) => x(a).toFixed(1) + "," + y(b).toFixed(1)).join(" "), class: "score" });
  }
  plot("roc", data.curves && data.curves.roc, ["false positive rate", "true positive rate"]);
  plot("pr", data.curves && data.curves.pr, ["recall", "precision"]);

  const main = data.rows[data.headline];
  $("figure").textContent = main.metrics.micro_auc === null ? "micro AUC undefined: frames of one class only"
    : `micro AUC ${percent(main.metrics.micro_auc)} %` + (main.interval ? `, 95 % interval ${main.interval.map(percent).join(" to ")}` : "");
  $("verdict").textContent = data.verdict;
  $("protocol").textContent = "Protocol: " + data.protocol;
  $("thumbnails").hidden = !data.pictures;
  $("provenance").textContent = JSON.stringify(data.provenance, null, 1);
  show(worst[0].i, 0);
})();
