(() => {
  const video = data.video, known = data.events.length > 0;
  let low = 0, top = 1;
  for (const s of video.scores) if (s !== null) { low = Math.min(low, s); top = Math.max(top, s); }
  const panel = curvePanel({
    videos: [video],
    lines: () => [{ scores: video.scores, range: [low, top], style: "score", title: "multiples of the threshold" }],
    thresholds: [{ value: 1, text: "alarm threshold" }],
    says: (_, at) => (video.scores[at] === null ? "no score, the picture was at fault" : times(video.scores[at])),
    moved: () => {},
  });

  $("heading").textContent = known ? "Events, the worst first" : "No event; the highest moments";
  for (const m of known ? data.events : data.worst) {
    const item = put($("moments"), "li", null), when = moment(m.peak, video.fps);
    const button = jump(item, "", panel, 0, m.peak);
    if (m.picture) {
      const [height, width] = m.picture.size;
      const alt = `frame ${m.peak} under its heat` + (m.picture.box ? ", worst place marked" : "");
      picture(button, m.picture.jpeg, alt, width / height, m.picture.box, m.picture.size);
    }
    put(button, "span", when);
    const said = put(item, "p", null);
    put(said, "span", m.severity, { class: known ? "state bad" : "state" });
    put(said, "span", `, ${times(m.score)}`);
    if (known) put(item, "p", video.fps ? `from ${clock(m.begin / video.fps)} to ${clock(m.end / video.fps)}` : `frames ${m.begin} to ${m.end - 1}`, { class: "note" });
    if (m.normal) {
      const figure = put(item, "figure", null, { class: "normally" });
      put(figure, "img", null, { src: source(m.normal), alt: `what is nearest to frame ${m.peak} there in normal video` });
      put(figure, "figcaption", "nearest normal example of the marked place");
    }
    if (m.parts.length) put(item, "p", `what fired: ${m.parts.join(", ")}`, { class: "note" });
    if (m.clip) put(put(item, "p", null), "a", "clip", { href: m.clip.split("/").map(encodeURIComponent).join("/") });
  }
  $("more").textContent = data.more ? `${data.more} more events are marked on the curve.` : "";
  for (const h of data.health) put($("health"), "li", `${moment(h.begin, video.fps)}: ${h.what}`);

  const svg = $("histogram"), { counts, low: from, high: to } = data.normal, most = Math.max(...counts);
  const x = (v) => 10 + 300 * (v - from) / (to - from), wide = 300 / counts.length;
  counts.forEach((c, i) => put(svg, "rect", null, { x: 10 + i * wide, y: 130 - 110 * c / most, width: wide - 1, height: 110 * c / most, class: "bar" }));
  put(svg, "line", null, { x1: 10, x2: 310, y1: 130, y2: 130, class: "tick" });
  put(svg, "line", null, { x1: x(1), x2: x(1), y1: 10, y2: 130, class: "threshold" });
  put(svg, "text", "0", { x: x(0), y: 146, "text-anchor": "middle" });
  put(svg, "text", "1, threshold", { x: x(1), y: 162, "text-anchor": x(1) > 240 ? "end" : "middle" });
  svg.setAttribute("aria-label", `Histogram of normal scores, from ${from.toFixed(2)} to ${to.toFixed(2)} times the threshold`);
  data.normal.pictures.forEach((jpeg, i) => put($("normal"), "img", null, { src: source(jpeg), alt: `normal frame ${i + 1}` }));
  $("normal_words").textContent = data.normal.pictures.length ? "Some frames of the normal video it was fitted on" : "No pictures of the normal video were kept.";

  $("lead").textContent = data.lead;
  $("stands_on").textContent = data.stands_on;
  $("about").textContent = `${data.made}: ${video.frames} frames` + (video.fps ? `, ${clock(video.frames / video.fps)} at ${Number(video.fps.toFixed(2))} frames per second` : "");
  $("provenance").textContent = JSON.stringify(data.provenance, null, 1);
  const first = (known ? data.events : data.worst)[0];
  panel.show(0, first ? first.peak : 0);
})();
