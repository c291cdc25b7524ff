(() => {
  const SHOWN = 3;  // worst moments in sight, of each kind; the others are folded
  const threshold = data.thresholds.length ? data.thresholds[0].value : null;
  const unit = threshold > 0 ? threshold : null;  // no score is a multiple of one that is not above 0
  const high = (score) => (unit ? times(score / unit) : `score ${score}`);
  const main = data.rows[data.headline];

  function nearest(video, frame) {
    const stored = data.pictures ? data.pictures.videos[video] : [];
    return stored.reduce((best, p) => (best && Math.abs(best.frame - frame) <= Math.abs(p.frame - frame) ? best : p), null);
  }
  const heatAlt = (found) => `input under the heat of its residual, frame ${found.frame}` + (found.box ? ", worst place marked" : ", nothing hot");

  function showPictures(video, frame) {
    const found = nearest(video, frame);
    $("pictures").hidden = !found;
    if (!found) {
      $("shown").textContent = data.pictures ? "No frame of this video is stored." : "This report holds scores only, no frames.";
      return;
    }
    $("shown").textContent = found.frame === frame ? `frame ${frame} shown` : `frame ${found.frame} shown, cursor at ${frame}`;
    for (const name of ["input", "infilled", "heat"]) {
      $(name).src = source(found[name]);
      $(name).alt = name === "heat" ? heatAlt(found) : `${name}, frame ${found.frame}`;
      $(name).style.aspectRatio = data.pictures.aspects[video];
    }
    $("scale").textContent = found.box ? `(hottest: ${found.hottest} of full range); marked: the worst place` : "(nothing hot)";
    markBox($("box"), found.box, data.pictures.size);
  }

  // all videos share one scale, as the micro AUC sees them; in multiples of the threshold 0 is on it
  let low = unit ? 0 : Infinity, top = -Infinity;
  for (const video of data.videos) for (const s of video.scores) { low = Math.min(low, s); top = Math.max(top, s); }
  for (const t of data.thresholds) { low = Math.min(low, t.value); top = Math.max(top, t.value); }
  const scale = unit || 1;
  const panel = curvePanel({
    videos: data.videos.map((video) => ({
      ...video, frames: video.scores.length, fps: data.fps, spans: video.spans.map(([begin, end]) => [begin, end, "abnormal"]) })),
    lines: (video) => [{
      scores: video.scores.map((s) => s / scale), range: [low / scale, top / scale], style: "score", title: unit ? "multiples of the threshold" : "score" }],
    thresholds: data.thresholds.map((t) => ({ value: t.value / scale, text: `threshold from normal video, ${t.rule.replace("_", " ")}` })),
    says: (video, at) => {
      const abnormal = video.spans.some(([begin, end]) => begin <= at && at < end);
      return `${high(video.scores[at])}, ${abnormal ? "abnormal" : "normal"}`;
    },
    moved: showPictures,
  });
  $("axes").textContent = unit ? "Line: score after the protocol, 1 is the threshold that follows from normal video alone."
    : threshold === null ? "Line: score after the protocol. No threshold: none was calibrated on normal video."
    : `Line: score after the protocol, ${Number(threshold.toPrecision(4))} is the threshold that follows from normal video alone.`;

  function moments(kind) {
    let list = $(kind);
    data.events[kind].forEach((e, i) => {
      if (i === SHOWN) {
        const more = document.createElement("details");
        list.after(more);
        put(more, "summary", `${data.events[kind].length - SHOWN} more`);
        list = put(more, "ol", null, { class: "cards", start: SHOWN + 1 });
      }
      const video = data.videos[e.video], frame = video.first + e.at, found = nearest(e.video, frame);
      const item = put(list, "li", null);
      const button = jump(item, "", panel, e.video, e.at);
      if (found) picture(button, found.heat, heatAlt(found), data.pictures.aspects[e.video], found.box, data.pictures.size);
      put(button, "span", `${video.name}, ${moment(frame, data.fps)}`);
      const said = put(item, "p", high(e.score) + " ");
      if (threshold === null) return;
      const alarm = e.score > threshold, fine = alarm === (kind === "misses");
      put(said, "span", { misses: ["missed", "found"], false_alarms: ["no alarm", "false alarm"] }[kind][Number(alarm)], { class: fine ? "state" : "state bad" });
    });
    if (!data.events[kind].length) put(list, "li", "none");
  }
  moments("false_alarms");
  moments("misses");

  function rowTable(table, keys, rows) {
    const columns = data.columns.filter((c) => keys.includes(c.key));
    tableRow(table, ["", columns[0].title, "95 % interval", ...columns.slice(1).map((c) => c.title)], true);
    for (const i of rows) {
      const row = data.rows[i];
      tableRow(table, [
        (row.null ? "null: " : "") + row.title + (row.sd === null ? "" : ` (sd ${percent(row.sd)})`),
        percent(row.metrics[columns[0].key]),
        row.interval ? row.interval.map(percent).join(" to ") : "-",
        ...columns.slice(1).map((c) => percent(row.metrics[c.key])),
      ], false, i === data.headline);
    }
  }
  rowTable($("matter"), data.short, data.matter);
  rowTable($("rows"), data.columns.map((c) => c.key), data.rows.map((_, i) => i));
  $("every").firstElementChild.textContent = `All ${data.rows.length} rows and every figure`;

  const worst = data.videos.map((video, i) => ({ video, i }))
    .sort((a, b) => (a.video.auc ?? 2) - (b.video.auc ?? 2) || a.i - b.i);
  tableRow($("videos"), ["video", "AUC, %", "frames", "abnormal"], true);
  for (const { video, i } of worst) {
    const abnormal = video.spans.reduce((sum, [begin, end]) => sum + end - begin, 0);
    const row = tableRow($("videos"), ["", video.auc === null ? "undefined (one class)" : percent(video.auc), video.scores.length, abnormal]);
    jump(row.firstChild, video.name, panel, i, 0);
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
    put(svg, "polyline", null, { points: points.map(([a, b]) => x(a).toFixed(1) + "," + y(b).toFixed(1)).join(" "), class: "line score" });
  }
  plot("roc", data.curves && data.curves.roc, ["false positive rate", "true positive rate"]);
  plot("pr", data.curves && data.curves.pr, ["recall", "precision"]);

  const facts = [main.metrics.micro_auc === null ? ["-", "micro AUC undefined: frames of one class only"]
    : [`${percent(main.metrics.micro_auc)} %`, "micro AUC" + (main.interval ? `, 95 % interval ${main.interval.map(percent).join(" to ")}` : `, no interval: ${data.provenance.intervals.none}`)]];
  if (threshold !== null) {
    const f = data.thresholds[0].figures, hourly = f.false_alarms_per_hour, thousand = f.false_alarms_per_1000_normal_frames;
    facts.push([`${f.events - f.missed_events} of ${f.events}`, "abnormal events found at the threshold"]);
    if (hourly !== null) facts.push([hourly.toFixed(1), "false alarms per hour of normal video"]);
    else if (thousand !== null) facts.push([thousand.toFixed(1), "false alarms per 1000 normal frames"]);
    if (f.mean_delay_seconds !== null) facts.push([clock(f.mean_delay_seconds), "from an event's start to its alarm, mean"]);
    else if (f.mean_delay_frames !== null) facts.push([`${f.mean_delay_frames.toFixed(1)} frames`, "from an event's start to its alarm, mean"]);
  } else facts.push(["no threshold", "none was calibrated on normal video"]);
  tiles($("tiles"), facts);
  const n = data.frames, long = data.fps ? ` (${clock(n.frames / data.fps)})` : "";
  $("about").textContent = `${data.made}: ${n.videos} ${n.videos === 1 ? "video" : "videos"}, ${n.frames} frames${long}, ${n.abnormal_frames} abnormal. Protocol: ${data.protocol}`;
  $("lead").textContent = data.lead;
  $("verdict").textContent = data.verdict;
  $("thumbnails").hidden = !data.pictures;
  $("provenance").textContent = JSON.stringify(data.provenance, null, 1);
  panel.show(worst[0].i, 0);
})();
