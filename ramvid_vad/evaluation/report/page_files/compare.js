(() => {
  const [a, b] = data.runs, letters = ["A", "B"], styles = ["score", "other"];
  const points = (value) => (value === null ? "-" : (value < 0 ? "" : "+") + (100 * value).toFixed(1));

  data.runs.forEach((run, i) => {
    const item = put($("runs"), "li", null);
    const sample = put(item, "svg", null, { class: "sample", viewBox: "0 0 48 12", "aria-hidden": "true" }, SVG);
    put(sample, "line", null, { x1: 0, x2: 48, y1: 6, y2: 6, class: "line " + styles[i] });
    put(item, "span", ` ${letters[i]} (${i ? "dashed" : "solid"}): ${run.folder}, ${run.row}. ${run.protocol}`);
  });
  for (const line of data.reading) put($("reading"), "p", line);
  const shared = a.row === b.row && a.protocol === b.protocol;
  $("axes").textContent = shared ? "One scale for both." : "Left scale: A. Right scale: B; heights of the two cannot be compared.";
  $("draws").textContent = `AUC and AP in %, differences in points; ${data.intervals}.`;

  tableRow($("metrics"), ["", "A", "B", "B - A", "95 % interval"], true);
  for (const m of data.metrics) tableRow($("metrics"),
    [m.title, percent(m.a), percent(m.b), points(m.difference), m.interval ? m.interval.map(points).join(" to ") : "-"]);

  const panel = curvePanel({
    videos: data.videos.map((video) => ({ ...video, frames: video.scores[0].length, spans: video.spans.map(([begin, end]) => [begin, end, "abnormal"]) })),
    lines: (video) => data.runs.map((run, i) => ({
      scores: video.scores[i], range: run.scale, style: styles[i], right: i === 1 && !shared, title: shared ? "score" : `score of ${letters[i]}` })),
    thresholds: [],
    says: (video, at) => letters.map((letter, i) => `${letter} ${video.scores[i][at]}`).join(", ")
      + (video.spans.some(([begin, end]) => begin <= at && at < end) ? ", abnormal" : ", normal"),
    moved: () => {},
  });

  tableRow($("videos"), ["video", "A, %", "B, %", "B - A", "frames", "abnormal"], true);
  data.videos.forEach((video, i) => {
    const aucs = video.difference === null ? ["-", "-", "one class"] : [...video.auc.map(percent), points(video.difference)];
    const row = tableRow($("videos"), ["", ...aucs, video.scores[0].length, video.abnormal]);
    jump(row.firstChild, video.name, panel, i, 0);
  });
  $("provenance").textContent = JSON.stringify({ A: a.about, B: b.about }, null, 1);
  panel.show(0, 0);
})();
