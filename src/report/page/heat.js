// SPDX-License-Identifier: Apache-2.0
// The heat map: mode by layer, of the chosen metric and component.
const metricCell = (table, layer, component, metric = state.metric) => {
  const row = rowOf(table, layer, component);
  return row ? cellOf(row[CELLS + metric]) : cellOf(null);
};

function explainCell(run, table, layer, component, metric = state.metric) {
  const m = metrics[metric], cell = metricCell(table, layer, component, metric), row = rowOf(table, layer, component);
  return `${run.name}, layer ${layer}, ${data.components[component]}\n${m.title} ${show(cell.value, m.format)}\n` +
    `95 %: ${showInterval(cell, m.format)}\nn = ${data.samples} samples, ${row ? row[row.length - 1] : 0} elements` +
    showMarks(cell.marks);
}

// From good to bad, as people with any kind of colour vision can read it.
function colors(values, metric) {
  const kind = kindOf(metric.format), shown = values.filter(v => drawable(v, kind));
  const scale = scaleOf(shown, kind, metric.format === "decibel" ? [1, 0] : [0, 1]);
  return v => drawable(v, kind) ? d3.interpolateCividis(scale(onAxis(v, kind))) : Number.isFinite(v) ? d3.interpolateCividis(0) : "none";
}
function inkOn(color) {
  if (color === "none") return "currentColor";
  const linear = c => c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4, { r, g, b } = d3.rgb(color);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.179 ? "#000" : "#fff";    // where both have 4.58
}

function colorBar(svg, paint, values, metric, left, y, width) {
  const kind = kindOf(metric.format), shown = values.filter(v => drawable(v, kind));
  if (shown.length === 0) return;
  const room = Math.min(220, width - left - 60), [low, high] = d3.extent(shown), steps = 60;
  const at = d3.scaleLinear([0, steps - 1], [0, room - room / steps]);
  const axis = scaleOf(shown, kind, [0, 1]);
  d3.range(steps).forEach(i => svg.append("rect").attr("x", left + at(i)).attr("y", y).attr("width", room / steps + 0.6)
    .attr("height", 9).attr("fill", paint(onAxis(axis.invert(i / (steps - 1)), kind))));
  const ends = kind === NEAR_ONE ? [high, low] : [low, high];
  svg.append("text").attr("x", left).attr("y", y + 24).text(show(ends[0], metric.format));
  svg.append("text").attr("x", left + room).attr("y", y + 24).attr("text-anchor", "end").text(show(ends[1], metric.format));
}

function moveFocus(svg, row, column) {
  const cell = svg.selectAll(".cell").filter(d => d.row === row && d.column === column).node();
  if (cell) cell.focus();
}

function onHeatKey(d, svg) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[d3.event.key];
  if (step) {
    d3.event.preventDefault();
    moveFocus(svg, d.row + step[0], d.column + step[1]);
  } else if (d3.event.key === "Enter" || d3.event.key === " ") {
    d3.event.preventDefault();
    choose({ layer: d.layer });
    moveFocus(d3.select(byId("fig-heat")).select("svg"), d.row, d.column);
  }
}

function drawHeat(svg, width) {
  const metric = metrics[state.metric], tables = tablesOf("series");
  const left = Math.min(width / 3, widest(compared.map(run => run.name)) + 10), step = (width - left) / layers.length;
  const tall = 26, top = 4, bottom = top + tall * tables.length;
  const cells = tables.flatMap((table, row) => layers.map((layer, column) => (
    { row, column, layer, table, run: compared[row], cell: metricCell(table, layer, state.component) })));
  const values = cells.map(d => d.cell.value), paint = colors(values, metric);
  compared.forEach((run, row) => svg.append("text").attr("x", left - 8).attr("y", top + tall * (row + 0.5)).attr("dy", "0.35em")
    .attr("text-anchor", "end").text(run.name));
  const marks = svg.selectAll(".cell").data(cells).enter().append("rect").attr("class", "cell")
    .attr("x", d => left + d.column * step).attr("y", d => top + d.row * tall).attr("width", Math.max(1, step - 1))
    .attr("height", tall - 1).attr("fill", d => paint(d.cell.value))
    .attr("tabindex", d => d.row === 0 && d.layer === state.layer ? 0 : -1).style("cursor", "pointer")
    .on("click", d => choose({ layer: d.layer })).on("keydown", d => onHeatKey(d, svg));
  explain(marks, d => explainCell(d.run, d.table, d.layer, state.component));
  cells.forEach(d => {
    const ink = inkOn(paint(d.cell.value)), number = show(d.cell.value, metric.format) + d.cell.marks;
    const text = widthOf(number) + 6 < step ? number : widthOf(d.cell.marks) + 2 < step ? d.cell.marks : "";
    if (text) svg.append("text").attr("x", left + (d.column + 0.5) * step).attr("y", top + (d.row + 0.5) * tall).attr("dy", "0.35em")
      .attr("text-anchor", "middle").attr("fill", ink).attr("pointer-events", "none").text(text);
  });
  const chosen = layers.indexOf(state.layer);
  svg.append("rect").attr("x", left + chosen * step - 1).attr("y", top - 1).attr("width", step + 1).attr("height", tall * tables.length + 1)
    .attr("fill", "none").attr("stroke", "currentColor").attr("stroke-width", 1.5).attr("pointer-events", "none");
  bottomAxis(svg, layers.map(String), layers.map((_, i) => left + (i + 0.5) * step), bottom, "layer", [left, width]);
  colorBar(svg, paint, values, metric, left, bottom + BOTTOM + 4, width);
  return bottom + BOTTOM + 34;
}

// Every metric of the chosen component, with intervals.
function seriesRows(component = state.component, only = null) {
  const chosen = only === null ? metrics.map((_, i) => i) : [only];
  return [["mode", "layer", "component", ...chosen.flatMap(i => [metrics[i].key, metrics[i].key + "_low", metrics[i].key + "_high", metrics[i].key + "_marks"])]]
    .concat(tablesOf("series").flatMap((table, r) => layers.filter(layer => rowOf(table, layer, component)).map(layer => [
      compared[r].name, layer, data.components[component],
      ...chosen.flatMap(i => { const c = metricCell(table, layer, component, i); return [c.value, c.low, c.high, c.marks]; })])));
}

makeFigure("fig-heat", {
  caption: () => `${metrics[state.metric].title} of ${data.components[state.component]} against ${data.reference}, mode by layer. ` +
    "The outlined layer is the chosen one.",
  draw: drawHeat, rows: () => seriesRows(state.component, state.metric)
});
