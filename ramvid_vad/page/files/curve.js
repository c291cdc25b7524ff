// round numbers inside [from, to]: steps of 1, 2 or 5 times a power of ten, two to six of them
function ticks(from, to) {
  const raw = (to - from) / 6, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const found = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) found.push(Number((i * step).toPrecision(6)));
  return found;
}

// round times in [0, to] seconds, at most ``most`` of them
function timeTicks(to, most) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400]
    .find((s) => to / s <= most) || 86400 * Math.ceil(to / 86400 / most);
  return Array.from({ length: Math.floor(to / step) + 1 }, (_, i) => i * step);
}

// Draws into #curve, fills #video and #readout.
// videos: name, first (frame), frames (how many), fps (0: not known), spans ([begin, end, kind] in frames from ``first``:
// kind "abnormal", "event" or "health"), and of a thinned curve step (frames per point) and peaks (frame of each point).
// lines(video): per curve its scores (null: none), range [low, high] over all videos, style, title, and right (its axis).
// thresholds: value and text, on the left axis.  says(video, at): point ``at`` in words.
// moved(video number, true frame): called whenever the cursor stands somewhere else.
// The picture is as wide as the page has room for, in its own pixels: letters are as large on a narrow screen.
function curvePanel({ videos, lines, thresholds, says, moved }) {
  const svg = $("curve"), state = { video: 0, at: 0 }, height = 264, letter = 7.2;
  const box = { left: 0, right: 0, top: 10, bottom: 215 };
  let width = 0;
  const across = (i, n) => box.left + (box.right - box.left) * (i + 0.5) / n;
  const points = (video) => Math.ceil(video.frames / (video.step || 1));
  const frameOf = (video, at) => video.first + (video.peaks ? video.peaks[at] : at);
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

  function timeAxis(video) {
    const n = points(video), step = video.step || 1;
    if (video.fps)
      for (const seconds of timeTicks((video.frames - 1) / video.fps, Math.max(2, (box.right - box.left) / 90))) {
        const x = across(seconds * video.fps / step, n);
        put(svg, "line", null, { x1: x, x2: x, y1: box.bottom, y2: box.bottom + 5, class: "tick" });
        const anchor = x > box.right - 26 ? "end" : x < box.left + 12 ? "start" : "middle";
        put(svg, "text", clock(seconds), { x: anchor === "end" ? box.right : anchor === "start" ? box.left : x, y: 233, "text-anchor": anchor, class: "second" });
      }
    const y = video.fps ? 253 : 233;
    put(svg, "text", "frame " + video.first, { x: box.left, y });
    put(svg, "text", "frame " + (video.first + video.frames - 1), { x: box.right, y, "text-anchor": "end" });
  }

  function bands(video) {
    const n = points(video), step = video.step || 1, top = box.top, tall = box.bottom - box.top;
    const pattern = put(put(svg, "defs", null), "pattern", null,
      { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    put(pattern, "line", null, { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" });
    for (const [begin, end, kind] of video.spans) {
      const x = across(begin / step - 0.5, n), wide = Math.max(2, across(end / step - 0.5, n) - x);
      const paint = kind === "event" ? { class: "event" } : { fill: "url(#hatch)" };
      put(svg, "rect", null, { x, y: top, width: wide, height: tall, ...paint });
      if (kind === "health" && wide > 40) put(svg, "text", "health", { x: x + wide / 2, y: top + 14, "text-anchor": "middle" });
    }
  }

  function stroke(scores, up) {  // a gap where there is no score
    let path = "", pen = false;
    scores.forEach((s, j) => {
      if (s !== null) path += (pen ? "L" : "M") + across(j, scores.length).toFixed(1) + " " + up(s).toFixed(1);
      pen = s !== null;
    });
    return path;
  }

  function draw() {
    const video = videos[state.video], drawn = lines(video);
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
    bands(video);
    put(svg, "rect", null, { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, class: "frame" });
    drawn.forEach((line, i) => { if (i === 0 || line.right) axis(levels[i], line.title, line.right); });
    timeAxis(video);
    thresholds.forEach((t, i) => {  // their names at both ends, below the line if it is the topmost thing
      const y = levels[0].up(t.value), end = i % 2 === 1;
      put(svg, "line", null, { x1: box.left, x2: box.right, y1: y, y2: y, class: "threshold" });
      put(svg, "text", t.text, { x: end ? box.right - 4 : box.left + 4, y: y - 16 > box.top ? y - 4 : y + 13, "text-anchor": end ? "end" : "start", class: "name" });
    });
    drawn.forEach((line, i) => put(svg, "path", null, { d: stroke(line.scores, levels[i].up), class: "line " + line.style }));
    put(svg, "line", null, { id: "cursor", y1: box.top, y2: box.bottom, class: "cursor" });
    svg.setAttribute("aria-valuemin", video.first);
    svg.setAttribute("aria-valuemax", video.first + video.frames - 1);
    $("video").value = state.video;
    moveTo(state.at);
  }

  function moveTo(at) {
    const video = videos[state.video], n = points(video);
    state.at = Math.max(0, Math.min(n - 1, at));
    const x = across(state.at, n), frame = frameOf(video, state.at);
    $("cursor").setAttribute("x1", x);
    $("cursor").setAttribute("x2", x);
    const text = `${moment(frame, video.fps)}: ${says(video, state.at)}`;
    $("readout").textContent = text;
    svg.setAttribute("aria-valuenow", frame);
    svg.setAttribute("aria-valuetext", text);
    moved(state.video, frame);
  }

  // at: frames from the first
  function show(video, at) { state.video = video; state.at = Math.floor(at / (videos[video].step || 1)); draw(); }

  svg.addEventListener("keydown", (event) => {
    const n = points(videos[state.video]);
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -n, End: n };
    if (!(event.key in steps)) return;
    event.preventDefault();
    moveTo(state.at + steps[event.key]);
  });
  const point = (event) => {
    const area = svg.getBoundingClientRect();
    const x = (event.clientX - area.left) / area.width * width;
    moveTo(Math.floor((x - box.left) / (box.right - box.left) * points(videos[state.video])));
  };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
  videos.forEach((video, i) => put($("video"), "option", video.name, { value: i }));
  $("video").addEventListener("change", (event) => show(Number(event.target.value), 0));
  new ResizeObserver(() => { if (svg.clientWidth && svg.clientWidth !== width) draw(); }).observe(svg);
  return { show };
}
