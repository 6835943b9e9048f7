// SPDX-License-Identifier: Apache-2.0
// What attribute, mix and units found: pieces and units by layer as heat maps, pieces of the whole model as
// intervals, mixes as cost against error.

const columnOf = (key, column) => CELLS + tablesOf(key)[0].columns.findIndex(c => c[0] === column);
const columnTitle = (key, column) => tablesOf(key)[0].columns[columnOf(key, column) - CELLS][1];
const cellAt = (key, row, column) => cellOf(row[columnOf(key, column)]);
const percent = v => Number.isNaN(v) ? "n/a" : plain(100 * v) + " %";
const FOUND = { "=": "no bit changes", "~": "no more than rounding noise", "*": "surely, corrected for the number of tests" };
const explainMarks = marks => [...marks].map(sign => `\n${sign} ${FOUND[sign]}`).join("");

// ---- units by layer ----

// cells: [{name, layer, value, marks, text}], a row for each name in the order in which they come; what is of no
// layer stands in the last column.
function drawGrid(svg, width, cells, format) {
  const names = [...new Set(cells.map(c => c.name))], columns = [...new Set(cells.map(c => c.layer))]
    .sort((a, b) => (a === null) - (b === null) || a - b);
  const left = Math.min(width / 3, widest(names) + 10), step = Math.min(90, (width - left) / columns.length), tall = 22, top = 4;
  const values = cells.map(c => c.value), paint = colors(values, { format }), bottom = top + tall * names.length;
  names.forEach((name, row) => svg.append("text").attr("x", left - 8).attr("y", top + tall * (row + 0.5)).attr("dy", "0.35em")
    .attr("text-anchor", "end").text(name));
  const placed = cells.map(c => ({ ...c, row: names.indexOf(c.name), column: columns.indexOf(c.layer) }));
  const onKey = d => {
    const to = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[d3.event.key];
    if (!to) return;
    d3.event.preventDefault();
    moveFocus(svg, d.row + to[0], d.column + to[1]);
  };
  const marks = svg.selectAll(".cell").data(placed).enter().append("rect").attr("class", "cell").attr("x", d => left + d.column * step)
    .attr("y", d => top + d.row * tall).attr("width", Math.max(1, step - 1)).attr("height", tall - 1).attr("fill", d => paint(d.value))
    .attr("tabindex", (_, i) => i === 0 ? 0 : -1).on("keydown", onKey);
  explain(marks, d => d.text);
  placed.forEach(d => {
    const number = show(d.value, format) + d.marks, text = widthOf(number) + 6 < step ? number : widthOf(d.marks) + 2 < step ? d.marks : "";
    if (text) svg.append("text").attr("x", left + (d.column + 0.5) * step).attr("y", top + (d.row + 0.5) * tall).attr("dy", "0.35em")
      .attr("text-anchor", "middle").attr("fill", inkOn(paint(d.value))).attr("pointer-events", "none").text(text);
  });
  bottomAxis(svg, columns.map(layer => layer === null ? "all" : String(layer)), columns.map((_, i) => left + (i + 0.5) * step), bottom, "layer", [left, left + step * columns.length]);
  colorBar(svg, paint, values, { format }, left, bottom + BOTTOM + 4, width);
  return bottom + BOTTOM + 34;
}

// ---- pieces of a mode ----

const pieceText = row => {
  const at = column => cellAt("pieces", row, column), change = at("without_change"), user = at("user_cost");
  return `${row[NAME]}${row[LAYER] === null ? "" : ", layer " + row[LAYER]}\nerror without it x ${plain(change.value)} (${showInterval(change, "number")})` +
    `\nshare ${percent(at("without_share").value)}, alone ${percent(at("only_share").value)}\nto mend it: ${plain(at("weight_bytes").value)} bytes of weights, ` +
    `${percent(at("int8_share").value)} of the multiply-adds in INT8` + (Number.isNaN(user.value) ? "" : `, cost ${plain(user.value)}`) + explainMarks(change.marks);
};
const byLayer = () => rowsOf("pieces").some(row => row[LAYER] !== null) && rowsOf("pieces").some(row => row[NAME] !== "all");
const pieceName = row => row[LAYER] === null ? row[NAME] : row[NAME] === "all" ? "layer " + row[LAYER] : `${row[NAME]}, layer ${row[LAYER]}`;

function drawPieces(svg, width, column) {
  const rows = rowsOf("pieces");
  if (rows.length === 0) return null;
  const marksOf = row => column === "without_share" ? cellAt("pieces", row, "without_change").marks.replace("=", "") : "";
  if (byLayer())
    return drawGrid(svg, width, rows.map(row => ({ name: row[NAME], layer: row[LAYER], value: 100 * cellAt("pieces", row, column).value,
      marks: marksOf(row), text: pieceText(row) })), "number");
  const entries = rows.map(row => {
    const cell = cellAt("pieces", row, column === "without_share" ? "without_change" : column);
    const value = column === "without_share" ? cell.value : 100 * cell.value;
    return { name: pieceName(row), ...cell, value, low: cell.low, high: cell.high, color: "#0072b2",
      label: percent(cellAt("pieces", row, column).value) + marksOf(row), text: pieceText(row) };
  });
  return column === "without_share" ? drawIntervals(svg, width, entries, { kind: PLAIN, title: "error without the piece, against the mode's", line: 1 })
    : drawIntervals(svg, width, entries, { kind: PLAIN, title: "error of the piece alone, in percent of the mode's", line: 0 });
}

const pieceRows = () => [["unit", "layer", ...tablesOf("pieces")[0].columns.flatMap(c => [c[0], c[0] + "_low", c[0] + "_high"]), "marks"]]
  .concat(rowsOf("pieces").map(row => [row[NAME], row[LAYER] === null ? "all" : row[LAYER],
    ...row.slice(CELLS).flatMap(raw => { const c = cellOf(raw); return [c.value, c.low, c.high]; }), cellAt("pieces", row, "without_change").marks]));

makeFigure("fig-pieces", {
  caption: () => byLayer() ? "Share of each piece, in percent: what of the mode's error is gone without it. Names with the largest share come first."
    : "The error of the mode without each piece, with its 95 % interval, and on the right the piece's share.",
  draw: (svg, width) => drawPieces(svg, width, "without_share"), rows: pieceRows
});
makeFigure("fig-alone", {
  caption: () => "The error with only that piece rounded, in percent of the mode's.",
  draw: (svg, width) => drawPieces(svg, width, "only_share"), rows: pieceRows
});

// ---- the error over the depth ----

const DEPTHS = [["in_model", "in the model"], ["by_itself", "of the layer by itself"]];

makeFigure("fig-amplification", {
  caption: () => "The error of each layer's output in the model (blue) and that of the layer by itself, fed with the reference (red), with 95 % bands. " +
    "What is between them is inherited; * marks layers where that is sure.",
  draw: (svg, width) => {
    const rows = rowsOf("amplification"), top = 24, tall = 280, cellsOf = key => rows.map(row => cellAt("amplification", row, key));
    const ends = DEPTHS.flatMap(([key]) => cellsOf(key).flatMap(c => [c.value, c.low, c.high]));
    const left = leftRoom(scaleOf(ends, LOG, [1, 0]), LOG), right = width - 12, y = scaleOf(ends, LOG, [top + tall, top + 10]);
    const x = i => rows.length < 2 ? (left + right) / 2 : left + 8 + i * (right - left - 16) / (rows.length - 1);
    leftAxis(svg, y, LOG, { left, right, title: "error", top: 14 });
    DEPTHS.forEach(([key, title], k) => {
      const points = cellsOf(key).map((c, i) => ({ ...c, i })), good = points.filter(p => drawable(p.value, LOG));
      svg.append("path").attr("d", d3.area().defined(p => drawable(p.low, LOG) && drawable(p.high, LOG)).x(p => x(p.i)).y0(p => y(p.low)).y1(p => y(p.high))(points))
        .attr("fill", colorOf(k)).attr("fill-opacity", 0.13);
      svg.append("path").attr("d", d3.line().x(p => x(p.i)).y(p => y(p.value))(good)).attr("fill", "none").attr("stroke", colorOf(k))
        .attr("stroke-width", 1.8).attr("stroke-dasharray", dashOf(k));
      explain(svg.selectAll(null).data(good).enter().append("circle").attr("class", "dot").attr("cx", p => x(p.i)).attr("cy", p => y(p.value)).attr("r", 3.2)
        .attr("fill", colorOf(k)).attr("tabindex", k === 0 ? 0 : -1), p => `layer ${rows[p.i][LAYER]}: error ${title} ${plain(p.value)}, 95 %: ${showInterval(p, "number")}` +
          `\nquotient x ${plain(cellAt("amplification", rows[p.i], "quotient").value)}` + explainMarks(cellAt("amplification", rows[p.i], "quotient").marks));
    });
    rows.forEach((row, i) => {
      const cell = cellAt("amplification", row, "in_model");
      if (cellAt("amplification", row, "quotient").marks.includes("*") && drawable(cell.value, LOG)) svg.append("text").attr("x", x(i)).attr("y", y(cell.value) - 6)
        .attr("text-anchor", "middle").text("*");
    });
    bottomAxis(svg, rows.map(row => String(row[LAYER])), rows.map((_, i) => x(i)), top + tall, "layer", [left, right]);
    return top + tall + BOTTOM;
  },
  rows: () => [["layer", ...tablesOf("amplification")[0].columns.flatMap(c => [c[0], c[0] + "_low", c[0] + "_high"]), "surely_larger"]]
    .concat(rowsOf("amplification").map(row => [row[LAYER], ...row.slice(CELLS).flatMap(raw => { const c = cellOf(raw); return [c.value, c.low, c.high]; }),
      cellAt("amplification", row, "quotient").marks.includes("*")]))
});

// ---- mixes ----

const KINDS = { mix: 0, uniform: 1, random: 7 };    // their colours

const mixRows = () => has("mix") ? tablesOf("mix")[0].rows : [];
// What is beyond the budget and far below the others, as a float mode is, would leave them no room on the axis.
const isFar = row => {
  const value = cellAt("mix", row, "judging").value, fits = r => r[columnOf("mix", "fits")] === "yes";
  return !fits(row) && value < Math.min(...mixRows().filter(fits).map(r => cellAt("mix", r, "judging").value)) / 30;
};

function drawMix(svg, width) {
  const rows = mixRows().filter(row => !isFar(row)), at = (row, column) => cellAt("mix", row, column);
  const word = (row, column) => row[columnOf("mix", column)];
  if (rows.length === 0) return null;
  const points = rows.map(row => ({ row, name: row[NAME], kind: word(row, "kind"), cost: at(row, "cost").value, ...at(row, "judging"),
    front: word(row, "on_front") === "yes", text: `${row[NAME]} (${word(row, "kind")})\nerror ${plain(at(row, "judging").value)}, 95 %: ` +
      `${showInterval(at(row, "judging"), "number")}\nINT8 multiply-adds ${percent(at(row, "int8_share").value)}\n${plain(at(row, "weight_bytes").value)} bytes of weights` +
      (word(row, "on_front") === "yes" ? "\nnothing here is as cheap and better" : "") + (word(row, "fits") === "no" ? "\nbeyond the budget" : "") }));
  const top = 24, tall = 320, ends = points.flatMap(p => [p.value, p.low, p.high]);
  const left = leftRoom(scaleOf(ends, LOG, [1, 0]), LOG), right = width - 12, y = scaleOf(ends, LOG, [top + tall, top + 10]);
  const x = scaleOf(points.map(p => p.cost), PLAIN, [left + 12, right - 12]);
  leftAxis(svg, y, LOG, { left, right, title: columnTitle("mix", "judging"), top: 14 });
  const good = points.filter(p => drawable(p.value, LOG)), front = good.filter(p => p.front).sort((a, b) => a.cost - b.cost);
  svg.append("path").attr("d", d3.line().x(p => x(p.cost)).y(p => y(p.value)).curve(d3.curveStepAfter)(front)).attr("fill", "none")
    .attr("stroke", "currentColor").attr("stroke-opacity", 0.35);
  good.forEach(p => {
    if (drawable(p.low, LOG) && drawable(p.high, LOG)) svg.append("line").attr("x1", x(p.cost)).attr("x2", x(p.cost)).attr("y1", y(p.low))
      .attr("y2", y(p.high)).attr("stroke", colorOf(KINDS[p.kind])).attr("stroke-width", 4).attr("stroke-opacity", 0.4).attr("stroke-linecap", "round");
  });
  const dots = svg.selectAll(null).data(good).enter().append("circle").attr("class", "dot").attr("cx", p => x(p.cost)).attr("cy", p => y(p.value))
    .attr("r", p => p.front ? 5.5 : 4).attr("fill", p => colorOf(KINDS[p.kind])).attr("tabindex", (_, i) => i === 0 ? 0 : -1);
  explain(dots, p => p.text);
  let used = [];
  good.forEach(p => {    // names where they find room
    const half = widthOf(p.name) / 2, at = Math.min(Math.max(x(p.cost), left + half), right - half), box = [at - half, y(p.value) - 10];
    if (used.some(u => Math.abs(u[0] + u[2] - at) < u[2] + half + 4 && Math.abs(u[1] - box[1]) < 14)) return;
    used.push([box[0], box[1], half]);
    svg.append("text").attr("x", at).attr("y", box[1]).attr("text-anchor", "middle").attr("pointer-events", "none").text(p.name);
  });
  const ticks = x.ticks(Math.max(2, Math.floor((right - left) / 110)));
  bottomAxis(svg, ticks.map(v => v === 0 ? "0" : short(v)), ticks.map(x), top + tall, "cost: " + costName(), [left, right]);
  return top + tall + BOTTOM;
}
const costName = () => / int8 /.test(tablesOf("mix")[0].title) ? "share of the multiply-adds that are not INT8"
  : / bytes /.test(tablesOf("mix")[0].title) ? "bytes of weights" : "by the table of costs";

makeFigure("fig-mix", {
  caption: () => "Cost against error on the texts that judge, with 95 % intervals: mixes (blue), modes alone (red), mixes by chance (grey). Nothing is as cheap " +
    "and better than what the line joins." + mixRows().filter(isFar).map(row => ` ${row[NAME]} is not drawn: beyond the budget, its error is ` +
    plain(cellAt("mix", row, "judging").value) + ".").join(""),
  draw: drawMix,
  rows: () => [["name", ...tablesOf("mix")[0].columns.flatMap(c => c[2] === "words" ? [c[0]] : [c[0], c[0] + "_low", c[0] + "_high", c[0] + "_marks"])]]
    .concat(tablesOf("mix")[0].rows.map(row => [row[NAME], ...tablesOf("mix")[0].columns.flatMap((c, i) => {
      if (c[2] === "words") return [row[CELLS + i]];
      const cell = cellOf(row[CELLS + i]);
      return [cell.value, cell.low, cell.high, cell.marks];
    })]))
});

// ---- units ----

const UNIT_NUMBERS = ["relative_error", "clipped_share", "entropy_bits", "over_median", "channel", "token", "observer"];
let unitNumber = UNIT_NUMBERS[0];

const unitText = row => `${row[NAME]}, layer ${row[LAYER]}\n` + UNIT_NUMBERS.map(key => {
  const value = cellAt("units", row, key).value;
  return `${columnTitle("units", key)}: ${key.endsWith("error") || key.endsWith("share") ? percent(value) : plain(value)}`;
}).join("\n") + `\nlargest channel ${plain(cellAt("units", row, "largest_channel").value)}, observer ${row[columnOf("units", "best_observer")]}`;

makeFigure("fig-units", {
  caption: () => has("units") ? `${columnTitle("units", unitNumber)}, unit by layer.` : "",
  draw: (svg, width) => !has("units") ? null : drawGrid(svg, width, rowsOf("units").map(row => ({ name: row[NAME], layer: row[LAYER],
    value: cellAt("units", row, unitNumber).value, marks: "", text: unitText(row) })), unitNumber === "entropy_bits" ? "number" : "error"),
  rows: () => [["unit", "layer", ...tablesOf("units")[0].columns.map(c => c[0])]].concat(rowsOf("units").map(row =>
    [row[NAME], row[LAYER], ...row.slice(CELLS).map((raw, i) => tablesOf("units")[0].columns[i][2] === "words" ? raw : cellOf(raw).value)]))
});
if (has("units")) {
  const box = d3.select(byId("fig-units")).insert("p", ".plot").attr("class", "controls-own").append("label").text("number ");
  const select = box.append("select").attr("id", "unit-number" + suffix);
  UNIT_NUMBERS.forEach(key => select.node().append(new Option(columnTitle("units", key), key)));
  select.on("change", function () { unitNumber = this.value; watchers.forEach(draw => draw()); });
}
