// SPDX-License-Identifier: Apache-2.0
// Points and intervals: every sample, places of the modes, pairs, predictions.

// ---- every sample ----

function sampleValues(run) {
  return tablesOf("samples")[0].rows.map(row => ({ number: row[NAME], tokens: row[CELLS], value: cellOf(row[CELLS + 1 + run]).value }))
    .sort((a, b) => Number.isNaN(b.value) - Number.isNaN(a.value) || b.value - a.value);
}

function drawSamples(svg, width) {
  const all = compared.map((_, r) => sampleValues(r)), top = legend(svg, compared.map(run => run.name), width) + 18, tall = 260;
  const values = all.flat().map(s => s.value), left = leftRoom(scaleOf(values, LOG, [1, 0]), LOG), right = width - 12;
  const y = scaleOf(values, LOG, [top + tall, top + 10]), count = all[0].length;
  const x = i => count < 2 ? (left + right) / 2 : left + 8 + i * (right - left - 16) / (count - 1);
  leftAxis(svg, y, LOG, { left, right, title: "MSE", top: top - 2 });
  all.forEach((samples, r) => {
    const dots = svg.selectAll(null).data(samples.map((s, i) => ({ ...s, i })).filter(s => drawable(s.value, LOG))).enter().append("circle")
      .attr("class", "dot").attr("cx", s => x(s.i)).attr("cy", s => y(s.value)).attr("r", count > 100 ? 2 : 3.4).attr("fill", colorOf(r))
      .attr("fill-opacity", 0.75 * dim(r)).attr("tabindex", -1);
    explain(dots, s => `${compared[r].name}, sample ${s.number}, ${s.tokens} tokens\nMSE ${plain(s.value)}`);
  });
  bottomAxis(svg, d3.range(count).map(i => String(i + 1)), d3.range(count).map(x), top + tall, "samples, the worst of each mode first", [left, right]);
  return top + tall + BOTTOM;
}

makeFigure("fig-samples", {
  caption: () => [tablesOf("samples")[0].title + ".", ...data.sections.samples.notes].join(" "),
  draw: drawSamples,
  rows: () => [["sample", "tokens", ...compared.map(run => run.name)]].concat(tablesOf("samples")[0].rows.map(row => row.slice(NAME)))
});

// ---- intervals in rows ----

// entries: [{name, low, high, value, label, text, color}]; axis: {kind, title, line}.
function drawIntervals(svg, width, entries, { kind, title, line = null, whole = false }) {
  const left = Math.min(width * 0.45, widest(entries.map(e => e.name)) + 12), right = width - widest(entries.map(e => e.label)) - 16;
  const tall = 24, ends = entries.flatMap(e => [e.low, e.high, e.value]).concat(line === null ? [] : [line]);
  const x = whole ? d3.scaleLinear([1, Math.max(2, entries.length)], [left + 10, right - 10])
    : scaleOf(ends, kind, kind === NEAR_ONE ? [right - 10, left + 10] : [left + 10, right - 10]);
  const at = v => x(onAxis(v, kind)), bottom = 8 + tall * entries.length;
  if (line !== null) svg.append("line").attr("x1", at(line)).attr("x2", at(line)).attr("y1", 4).attr("y2", bottom)
    .attr("stroke", "currentColor").attr("stroke-opacity", 0.5);
  entries.forEach((e, i) => {
    const y = 8 + tall * (i + 0.5);
    svg.append("text").attr("x", left - 8).attr("y", y).attr("dy", "0.35em").attr("text-anchor", "end").text(e.name);
    svg.append("text").attr("x", width).attr("y", y).attr("dy", "0.35em").attr("text-anchor", "end").text(e.label);
    if (drawable(e.low, kind) && drawable(e.high, kind)) svg.append("line").attr("x1", at(e.low)).attr("x2", at(e.high)).attr("y1", y).attr("y2", y)
      .attr("stroke", e.color).attr("stroke-width", 5).attr("stroke-linecap", "round").attr("stroke-opacity", 0.55);
    const middle = drawable(e.value, kind) ? e.value : drawable(e.low, kind) && e.low === e.high ? e.low : null;
    if (middle !== null) svg.append("circle").attr("cx", at(middle)).attr("cy", y).attr("r", 4.5).attr("fill", e.color);
  });
  explain(svg.selectAll(null).data(entries).enter().append("rect").attr("class", "row").attr("x", 0).attr("y", (_, i) => 8 + tall * i)
    .attr("width", width).attr("height", tall).attr("fill", "transparent").attr("tabindex", 0), e => e.text);
  const ticks = whole ? d3.range(1, entries.length + 1).map(v => [v, String(v)]) : ticksOf(x, kind, Math.max(2, Math.floor((right - left) / 90)));
  const places = ticks.map((t, i) => [t, i]).sort((a, b) => x(a[0][0]) - x(b[0][0])).map(p => p[0]);
  bottomAxis(svg, places.map(t => t[1]), places.map(t => x(t[0])), bottom, title, [left, right]);
  return bottom + BOTTOM;
}

// ---- places ----

// The row of the chosen metric if modes are ranked by it, else of the first.
function placesRow() {
  const rows = tablesOf("places")[0].rows.filter(row => row[LAYER] === state.layer);
  return rows.find(row => row[NAME] === metrics[state.metric].key) || rows[0];
}
const placeText = cell => Number.isNaN(cell.low) ? "?" : (cell.low === cell.high ? cell.low : `${cell.low}-${cell.high}`) + cell.marks;
const titleOf = key => (metrics.find(m => m.key === key) || { title: key }).title;

makeFigure("fig-places", {
  caption: () => {
    const row = placesRow();
    return row ? `Places that each mode may have at layer ${state.layer}, in ${data.components[row[COMPONENT]]} by ${titleOf(row[NAME])}: from 1 + ` +
      "those that are surely better to the last but those that are surely worse." : "";
  },
  draw: (svg, width) => {
    const row = placesRow(), columns = tablesOf("places")[0].columns;
    if (!row) return null;
    const entries = columns.map((column, i) => ({ name: column[1], ...cellOf(row[CELLS + i]) }))
      .map(e => ({ ...e, label: placeText(e), color: colorOf(compared.findIndex(run => run.name === e.name)),
        text: `${e.name}: place ${placeText(e)}` + showMarks(e.marks) })).sort((a, b) => a.low - b.low || a.high - b.high);
    return drawIntervals(svg, width, entries, { kind: PLAIN, title: "place", whole: true });
  },
  rows: () => [["layer", "component", "metric", "mode", "best", "worst", "marks"]].concat(tablesOf("places")[0].rows.flatMap(row =>
    tablesOf("places")[0].columns.map((column, i) => { const c = cellOf(row[CELLS + i]);
      return [row[LAYER] === null ? "" : row[LAYER], data.components[row[COMPONENT]], row[NAME], column[0], c.low, c.high, c.marks]; })))
});

// ---- pairs ----

const FIRST = CELLS, SECOND = CELLS + 1, CHANGE = CELLS + 2, P = CELLS + 3, BETTER = CELLS + 4, NEEDED = CELLS + 5;
const pairRows = layer => tablesOf("pairs")[0].rows.filter(row => row[LAYER] === layer);

makeFigure("fig-pairs", {
  caption: () => {
    const row = pairRows(state.layer)[0];
    return row ? `MSE of one mode against another's at layer ${state.layer}, sample by sample: ${row[NAME]} with its 95 % interval. Left of the line ` +
      "the first is better; on the right the better one, or = equal, ~ rounding noise, ? not told apart." : "";
  },
  draw: (svg, width) => {
    const rows = pairRows(state.layer).filter(row => state.run < 0 || [row[FIRST], row[SECOND]].includes(compared[state.run].name));
    if (rows.length === 0) return null;
    const entries = rows.map(row => {
      const cell = cellOf(row[CHANGE]), needed = row[NEEDED] === "" ? "" : `\nsamples needed: about ${plain(Math.ceil(row[NEEDED]))}`;
      return { name: `${row[FIRST]} : ${row[SECOND]}`, ...cell, color: "#808080", label: cell.marks.slice(0, 1) || (row[NEEDED] === "" ? row[BETTER] : "?"),
        text: `${row[FIRST]} against ${row[SECOND]}\n${row[NAME]} ${plain(cell.value)}\n95 %: ${showInterval(cell, "number")}\n` +
          `p ${plain(cellOf(row[P]).value)}, corrected\nbetter: ${row[BETTER]}${needed}` };
    });
    return drawIntervals(svg, width, entries, { kind: LOG, title: rows[0][NAME], line: 1 });
  },
  rows: () => [["layer", "component", "first", "second", "scale", "change", "low", "high", "p_adjusted", "better", "samples_needed"]]
    .concat(tablesOf("pairs")[0].rows.map(row => { const c = cellOf(row[CHANGE]);
      return [row[LAYER] === null ? "" : row[LAYER], data.components[row[COMPONENT]], row[FIRST], row[SECOND], row[NAME], c.value, c.low, c.high,
        cellOf(row[P]).value, row[BETTER], row[NEEDED]]; }))
});

// ---- predictions ----

const predictionRows = () => has("predictions") ? tablesOf("predictions")[0].rows.filter(row => compared.some(run => run.name === row[NAME] ||
  run.mode === row[NAME])) : [];

makeFigure("fig-predictions", {
  caption: () => "Change of perplexity against the reference's, in percent, with 95 % intervals.",
  draw: (svg, width) => {
    const change = has("predictions") ? tablesOf("predictions")[0].columns.findIndex(column => column[0] === "perplexity_ratio") : -1;
    if (change < 0) return null;
    const entries = predictionRows().map((row, i) => {
      const cell = cellOf(row[CELLS + change]);
      return { name: row[NAME], ...cell, color: colorOf(i), label: plain(cell.value) + cell.marks,
        text: tablesOf("predictions")[0].columns.map((column, c) => { const one = cellOf(row[CELLS + c]);
          return `${column[1]}: ${plain(one.value)} (${showInterval(one, "number")})`; }).join("\n") + showMarks(cell.marks) };
    });
    return drawIntervals(svg, width, entries, { kind: PLAIN, title: "change of perplexity, %", line: 0 });
  },
  rows: () => [["mode", ...tablesOf("predictions")[0].columns.flatMap(c => [c[0], c[0] + "_low", c[0] + "_high"])]].concat(predictionRows().map(row =>
    [row[NAME], ...row.slice(CELLS).flatMap(raw => { const c = cellOf(raw); return [c.value, c.low, c.high]; })]))
});
