// What the reports share: tables that fold on a narrow screen, words for times, pictures with a mark.
const data = JSON.parse(document.getElementById("data").textContent);
const percent = (value) => (value === null || value === undefined ? "-" : (100 * value).toFixed(1));
const source = (jpeg) => "data:image/jpeg;base64," + jpeg;

// seconds as read on a clock: 3.4 s, 2:05, 1:02:05
function clock(seconds) {
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
const moment = (frame, fps) => (fps ? `${clock(frame / fps)} (frame ${frame})` : `frame ${frame}`);
const times = (value) => `${Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2)} × threshold`;

// on a narrow screen a row becomes its title and, below it, its figures, each with its heading
function tableRow(table, cells, heading, chosen) {
  if (heading) table.headings = cells;
  const row = put(table, "tr", null, chosen ? { class: "chosen" } : {});
  cells.forEach((cell, i) => put(row, heading ? "th" : "td", cell, heading || !i ? {} : { "data-heading": table.headings[i] }));
  return row;
}

function jump(parent, text, panel, video, at) {
  const button = put(parent, "button", text, { type: "button" });
  button.addEventListener("click", () => { panel.show(video, at); $("curve").focus(); $("curve").scrollIntoView({ block: "start" }); });
  return button;
}

// a picture at its true proportions, with the one box, in pixels of ``size`` [height, width], marked
function picture(parent, jpeg, alt, aspect, box, size) {
  const boxed = put(parent, "span", null, { class: "boxed" });
  const image = put(boxed, "img", null, jpeg ? { src: source(jpeg), alt } : { alt });
  image.style.aspectRatio = aspect;
  markBox(put(boxed, "svg", null, { "aria-hidden": "true", preserveAspectRatio: "none" }, SVG), box, size);
  return boxed;
}

// black under dashed white: seen on any ground, without a colour
function markBox(svg, box, size) {
  svg.replaceChildren();
  if (!box) return;
  const [height, width] = size, [x, y, x1, y1] = box;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const name of ["under", "over"]) put(svg, "rect", null, { x, y, width: x1 - x, height: y1 - y, class: name });
}

function tiles(parent, facts) {
  for (const [figure, words] of facts) {
    const tile = put(parent, "div", null);
    put(tile, "dd", figure);
    put(tile, "dt", words);
  }
}
