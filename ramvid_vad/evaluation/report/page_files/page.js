(() => {
  function nearest(video, frame) {
    const stored = data.pictures ? data.pictures.videos[video] : [];
    return stored.reduce((best, p) => (best && Math.abs(best.frame - frame) <= Math.abs(p.frame - frame) ? best : p), null);
  }
  const source = (jpeg) => "data:image/jpeg;base64," + jpeg;

  function showPictures(video, frame) {
    const found = nearest(video, frame);
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

  // all videos share one scale, as the micro AUC sees them
  let low = Infinity, high = -Infinity;
  for (const video of data.videos) for (const s of video.scores) { low = Math.min(low, s); high = Math.max(high, s); }
  for (const t of data.thresholds) { low = Math.min(low, t.value); high = Math.max(high, t.value); }
  const panel = curvePanel({
    videos: data.videos.map((video) => ({ ...video, frames: video.scores.length })),
    lines: (video) => [{ scores: video.scores, range: [low, high], style: "score", title: "score" }],
    thresholds: data.thresholds.map((t) => ({ value: t.value, text: "threshold: " + t.rule.replace("_", " ") })),
    says: (video, at) => `score ${video.scores[at]}`,
    moved: showPictures,
  });

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
    jump(row.firstChild, video.name, panel, i, 0);
  }
  for (const kind of ["false_alarms", "misses"]) {
    for (const e of data.events[kind]) {
      const video = data.videos[e.video];
      const button = jump(put($(kind), "li", null), `${video.name}, frame ${video.first + e.at}: peak ${e.score}`, panel, e.video, e.at);
      const found = nearest(e.video, video.first + e.at);
      if (!found) continue;
      const row = put(button, "span", null, { class: "thumbnails" });
      for (const name of ["input", "infilled"]) put(row, "img", null, { src: source(found[name]), alt: name });
      const boxed = put(row, "span", null, { class: "boxed" });
      put(boxed, "img", null, { src: source(found.residual), alt: `residual, ${found.boxes.length} blobs` });
      drawBoxes(put(boxed, "svg", null, {}, SVG), found);
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
  panel.show(worst[0].i, 0);
})();
