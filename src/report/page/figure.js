// SPDX-License-Identifier: Apache-2.0
// The frame of a figure: caption, drawing, its numbers as CSV and itself as SVG; the box that says what is under
// the pointer; scales and axes.
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#808080", "#b2182b", "#7b6bd6"];
const DASHES = ["", "7 3", "2 3"];
const colorOf = i => COLORS[i % COLORS.length];
const dashOf = i => DASHES[i % DASHES.length];
const FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
const SIZE = 12;    // of text, px

const pen = document.createElement("canvas").getContext("2d");
function widthOf(text, size = SIZE) {
  pen.font = size + "px " + FONT;
  return pen.measureText(text).width;
}
const widest = texts => Math.max(0, ...texts.map(text => widthOf(text)));

// ---- the box under the pointer ----

const tip = document.getElementById("tip");
function showTip(text, at) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), room = 12;
  const x = Math.min(at.right + room, innerWidth - box.width - 4);
  const y = at.bottom + room + box.height > innerHeight ? at.top - room - box.height : at.bottom + room;
  tip.style.left = Math.max(4, x) + "px";
  tip.style.top = Math.max(4, y) + "px";
}
const hideTip = () => { tip.hidden = true; };

// Says `text(d)` of the marks of a selection, to pointer, focus and screen reader.
function explain(marks, text) {
  return marks.attr("aria-label", text).attr("role", "img")
    .on("mouseenter focus", function (d) { showTip(text(d), this.getBoundingClientRect()); })
    .on("mouseleave blur", hideTip);
}

// ---- files ----

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const quoted = value => /[",\n]/.test(value) ? '"' + value.replace(/"/g, '""') + '"' : value;
const csvOf = rows => rows.map(row => row.map(v => quoted(typeof v === "number" && Number.isNaN(v) ? "" : String(v))).join(","))
  .join("\n") + "\n";

function svgText(svg) {
  const copy = svg.cloneNode(true), style = getComputedStyle(document.documentElement);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("color", style.color);
  copy.setAttribute("style", "background:" + style.backgroundColor);
  return '<?xml version="1.0" encoding="UTF-8"?>\n' + new XMLSerializer().serializeToString(copy) + "\n";
}

// ---- the frame ----

// draw(svg, width) returns the height, or null where there is nothing to draw; caption() and rows() (of the CSV,
// headings first) go with the choice.
function makeFigure(id, { caption, draw, rows }) {
  const figure = d3.select(byId(id));
  if (figure.empty()) return;
  const title = figure.append("figcaption"), plot = figure.append("div").attr("class", "plot");
  const buttons = figure.append("p").attr("class", "buttons");
  const redraw = () => {
    const width = Math.max(280, Math.floor(plot.node().clientWidth));
    plot.selectAll("*").remove();
    hideTip();
    const svg = plot.append("svg").attr("width", width).attr("role", "group").attr("aria-label", caption())
      .attr("font-family", FONT).attr("font-size", SIZE).attr("fill", "currentColor");
    const height = draw(svg, width);
    figure.property("hidden", height === null);
    const section = figure.node().closest("section");
    if (section.dataset.figureOnly !== undefined) section.hidden = height === null;
    if (height === null) return;
    svg.attr("height", height).attr("viewBox", `0 0 ${width} ${height}`);
    title.text(caption());
  };
  const name = id.replace("fig-", "");
  buttons.append("button").attr("type", "button").attr("class", "svg").text("SVG")
    .on("click", () => save(name + ".svg", "image/svg+xml", svgText(plot.select("svg").node())));
  buttons.append("button").attr("type", "button").attr("class", "csv").text("CSV")
    .on("click", () => save(name + ".csv", "text/csv", csvOf(rows())));
  watchers.push(redraw);
}

// ---- scales ----

// What a format is drawn on: a log scale of the value, of its distance from 1, or a plain one.
const LOG = "log", NEAR_ONE = "near one", PLAIN = "plain";
const kindOf = format => format === "error" || format === "share" ? LOG : format === "correlation" ? NEAR_ONE : PLAIN;
const onAxis = (v, kind) => kind === NEAR_ONE ? 1 - v : v;
const drawable = (v, kind) => Number.isFinite(v) && (kind === PLAIN || onAxis(v, kind) > 0);

// Maps values to pixels; from[0] belongs to the best or smallest.
function scaleOf(values, kind, range) {
  const shown = values.filter(v => drawable(v, kind)).map(v => onAxis(v, kind));
  let [low, high] = shown.length ? d3.extent(shown) : [1, 10];
  if (kind === PLAIN) {
    if (low === high) [low, high] = [low - 1, high + 1];
    return d3.scaleLinear([low, high], range).nice();
  }
  if (low === high) [low, high] = [low / 2, high * 2];
  return d3.scaleLog([low, high], range);
}

function ticksOf(scale, kind, most) {
  if (kind === PLAIN) return scale.ticks(most).map(v => [v, String(v)]);
  const [low, high] = scale.domain();
  let steps = d3.range(Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9) + 1).map(e => Number("1e" + e));
  if (steps.length < 2) steps = scale.ticks(most).filter(v => [1, 2, 5].includes(Math.round(v / 10 ** Math.floor(Math.log10(v) + 1e-9))));
  const every = Math.ceil(steps.length / most);
  return steps.filter((_, i) => i % every === 0)
    .map(v => [v, kind === NEAR_ONE ? "1\u2212" + short(v) : short(v)]);
}
const short = v => v >= 1e-3 && v < 1e4 ? String(Number(v.toPrecision(3))) : Number(v.toPrecision(3)).toExponential().replace("+", "");

// ---- axes ----

// Horizontal lines with their numbers; left is where the plot begins.
function leftAxis(svg, scale, kind, { left, right, most = 6, title, top }) {
  const axis = svg.append("g").attr("class", "axis");
  ticksOf(scale, kind, most).forEach(([v, text]) => {
    axis.append("line").attr("x1", left).attr("x2", right).attr("y1", scale(v)).attr("y2", scale(v))
      .attr("stroke", "currentColor").attr("stroke-opacity", 0.15);
    axis.append("text").attr("x", left - 6).attr("y", scale(v)).attr("dy", "0.35em").attr("text-anchor", "end").text(text);
  });
  axis.append("text").attr("x", 0).attr("y", top).attr("font-weight", 600).text(title);
}
const leftRoom = (scale, kind) => Math.ceil(widest(ticksOf(scale, kind, 6).map(t => t[1]))) + 10;

// Labels below, as many as find room; at[i] is where label i stands.
function bottomAxis(svg, labels, at, y, title, [left, right]) {
  const axis = svg.append("g").attr("class", "axis");
  let used = -Infinity;
  labels.forEach((text, i) => {
    const half = widthOf(text) / 2, x = Math.min(Math.max(at[i], left + half - 8), right - half);
    axis.append("line").attr("x1", at[i]).attr("x2", at[i]).attr("y1", y).attr("y2", y + 4).attr("stroke", "currentColor");
    if (x - half < used + 8) return;
    used = x + half;
    axis.append("text").attr("x", x).attr("y", y + 17).attr("text-anchor", "middle").text(text);
  });
  axis.append("line").attr("x1", left).attr("x2", right).attr("y1", y).attr("y2", y).attr("stroke", "currentColor");
  axis.append("text").attr("x", (left + right) / 2).attr("y", y + 35).attr("text-anchor", "middle").text(title);
}
const BOTTOM = 42;    // room that it takes

// Names with their lines above a plot; returns the height.  One name chosen dims the others.
function legend(svg, names, width, top = 0) {
  let x = 0, y = top + 14;
  names.forEach((name, i) => {
    const room = 26 + widthOf(name) + 14;
    if (x > 0 && x + room > width) [x, y] = [0, y + 18];
    const entry = svg.append("g").attr("class", "legend").attr("transform", `translate(${x},${y})`).attr("tabindex", 0)
      .attr("role", "button").attr("aria-pressed", state.run === i).attr("aria-label", "only " + name)
      .style("cursor", "pointer").attr("opacity", dim(i));
    const toggle = () => choose({ run: state.run === i ? -1 : i });
    entry.on("click", toggle).on("keydown", () => {
      if (d3.event.key !== "Enter" && d3.event.key !== " ") return;
      d3.event.preventDefault();
      const place = svg.node().closest("figure").id;
      toggle();
      d3.selectAll("#" + place + " .legend").filter((_, at) => at === i).node().focus();
    });
    entry.append("line").attr("x2", 20).attr("y1", -4).attr("y2", -4).attr("stroke", colorOf(i)).attr("stroke-width", 2.5)
      .attr("stroke-dasharray", dashOf(i));
    entry.append("text").attr("x", 26).text(name);
    x += room;
  });
  return y + 10;
}
const dim = i => state.run < 0 || state.run === i ? 1 : 0.45;
