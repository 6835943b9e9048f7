// SPDX-License-Identifier: Apache-2.0
// Lines, one for each mode: error against depth, inside a layer, by token position, the distribution of
// |difference|, against calib_data_num, and scales.

// lines: [{name, color, points: [{x, value, low, high, text}]}], x a place among `labels`.
function drawLines(svg, width, { lines, labels, format, title, xTitle, chosen = -1, pick = null }) {
  const kind = kindOf(format), top = legend(svg, lines.map(line => line.name), width) + 18, tall = 300;
  const points = lines.flatMap(line => line.points);
  const ends = points.flatMap(p => [p.value, p.low, p.high]).filter(v => v !== undefined);
  const first = scaleOf(ends, kind, [top + tall, top + 10]), left = leftRoom(first, kind), right = width - 12;
  const better = kind === PLAIN || kind === LOG ? [top + tall, top + 10] : [top + 10, top + tall];
  const y = scaleOf(ends, kind, better), at = v => y(onAxis(v, kind));
  const x = i => labels.length < 2 ? (left + right) / 2 : left + 8 + i * (right - left - 16) / (labels.length - 1);
  leftAxis(svg, y, kind, { left, right, title, top: top - 2 });
  if (chosen >= 0) svg.append("line").attr("x1", x(chosen)).attr("x2", x(chosen)).attr("y1", top + 8).attr("y2", top + tall)
    .attr("stroke", "currentColor").attr("stroke-opacity", 0.5);
  lines.forEach((line, i) => {
    const good = line.points.filter(p => drawable(p.value, kind));
    svg.append("path").attr("d", d3.area().defined(p => drawable(p.low, kind) && drawable(p.high, kind)).x(p => x(p.x)).y0(p => at(p.low))
      .y1(p => at(p.high))(line.points)).attr("fill", colorOf(i))
      .attr("fill-opacity", 0.13 * dim(i)).attr("stroke", "none");
    svg.append("path").attr("d", d3.line().x(p => x(p.x)).y(p => at(p.value))(good)).attr("fill", "none").attr("stroke", colorOf(i))
      .attr("stroke-width", state.run === i ? 3 : 1.8).attr("stroke-dasharray", dashOf(i)).attr("stroke-opacity", dim(i));
    const dots = svg.selectAll(null).data(good).enter().append("circle").attr("class", "dot").attr("cx", p => x(p.x))
      .attr("cy", p => at(p.value)).attr("r", 3.2).attr("fill", colorOf(i)).attr("fill-opacity", dim(i)).attr("tabindex", -1);
    explain(dots, p => p.text);
    if (pick) dots.style("cursor", "pointer").on("click", p => pick(p.x));
  });
  bottomAxis(svg, labels, labels.map((_, i) => x(i)), top + tall, xTitle, [left, right]);
  return { height: top + tall + BOTTOM, x, top, tall };
}

// ---- against depth ----

function depthLines(component) {
  return tablesOf("series").map((table, r) => ({ name: compared[r].name, points: layers.map((layer, i) => ({ x: i,
    ...metricCell(table, layer, component), text: explainCell(compared[r], table, layer, component) })) }));
}

// Left and right move the chosen layer.
function onDepthKey() {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -layers.length, End: layers.length }[d3.event.key];
  if (step === undefined) return;
  d3.event.preventDefault();
  const next = Math.min(layers.length - 1, Math.max(0, layers.indexOf(state.layer) + step));
  choose({ layer: layers[next] });
  d3.select(byId("fig-depth")).select(".slider").node().focus();
}

makeFigure("fig-depth", {
  caption: () => `${metrics[state.metric].title} of ${data.components[state.component]}, accumulated from the input to the layer, with 95 % ` +
    "bands. Choose a layer with a click, or with the arrow keys on the line.",
  draw: (svg, width) => {
    const chosen = layers.indexOf(state.layer), m = metrics[state.metric];
    const drawn = drawLines(svg, width, { lines: depthLines(state.component), labels: layers.map(String), format: m.format,
      title: m.title, xTitle: "layer", chosen, pick: i => choose({ layer: layers[i] }) });
    svg.append("rect").attr("class", "slider").attr("x", drawn.x(chosen) - 4).attr("y", drawn.top + 4).attr("width", 8)
      .attr("height", drawn.tall - 2).attr("fill", "transparent").attr("tabindex", 0).attr("role", "slider")
      .attr("aria-label", "layer").attr("aria-valuenow", state.layer).attr("aria-valuemin", layers[0])
      .attr("aria-valuemax", layers[layers.length - 1]).attr("pointer-events", "none").on("keydown", onDepthKey);
    return drawn.height;
  },
  rows: () => seriesRows(state.component, state.metric)
});

// ---- inside a layer ----

makeFigure("fig-layer", {
  caption: () => `${metrics[state.metric].title} of each component of layer ${state.layer}, in a token's way through it.`,
  draw: (svg, width) => {
    const m = metrics[state.metric];
    const inside = components.filter(c => rowOf(tablesOf("series")[0], state.layer, c));
    if (inside.length < 2) return null;
    const lines = tablesOf("series").map((table, r) => ({ name: compared[r].name, points: inside.map((c, i) => ({ x: i,
      ...metricCell(table, state.layer, c), text: explainCell(compared[r], table, state.layer, c) })) }));
    return drawLines(svg, width, { lines, labels: inside.map(c => data.components[c]), format: m.format, title: m.title,
      xTitle: "component", chosen: inside.indexOf(state.component), pick: i => choose({ component: inside[i] }) }).height;
  },
  rows: () => [["mode", "layer", "component", metrics[state.metric].key, "low", "high"]].concat(
    tablesOf("series").flatMap((table, r) => components.filter(c => rowOf(table, state.layer, c)).map(c => {
      const cell = metricCell(table, state.layer, c);
      return [compared[r].name, state.layer, data.components[c], cell.value, cell.low, cell.high];
    })))
});

// ---- by token position ----

makeFigure("fig-position", {
  caption: () => `Mean squared error of ${data.components[state.component]} at layer ${state.layer}, by the place of the token in its sample.`,
  draw: (svg, width) => {
    const tables = tablesOf("positions"), labels = tables[0].columns.map(column => column[1]);
    const lines = tables.map((table, r) => ({ name: compared[r].name, points: labels.map((label, i) => {
      const row = rowOf(table, state.layer, state.component), value = row ? cellOf(row[CELLS + i]).value : NaN;
      return { x: i, value, low: NaN, high: NaN, text: `${compared[r].name}, tokens ${label}\nMSE ${plain(value)}` };
    }) }));
    return drawLines(svg, width, { lines, labels, format: "error", title: "MSE", xTitle: "token" }).height;
  },
  rows: () => [["mode", "layer", "component", "tokens", "mse"]].concat(tablesOf("positions").flatMap((table, r) => {
    const row = rowOf(table, state.layer, state.component) || [];
    return table.columns.map((column, i) => [compared[r].name, state.layer, data.components[state.component], column[0], cellOf(row[CELLS + i]).value]);
  }))
});

// ---- the distribution of |difference| ----

const QUANTILES = 4;

function drawBins(svg, width) {
  const tables = tablesOf("bins"), bounds = tables[0].columns.slice(QUANTILES + 1).map(column => column[0].split(" "));
  const row = table => rowOf(table, state.layer, data.main);
  if (!row(tables[0])) return null;
  const used = bounds.map((_, i) => i).filter(i => tables.some(table => row(table)[CELLS + QUANTILES + 1 + i] > 0));
  const [from, to] = [used[0], used[used.length - 1]], labels = bounds.slice(from, to + 1).map(b => short(Number(b[0])));
  const lines = tables.map((table, r) => ({ name: compared[r].name, points: labels.map((_, i) => {
    const value = row(table)[CELLS + QUANTILES + 1 + from + i];
    return { x: i, value, low: NaN, high: NaN, text: `${compared[r].name}\n|difference| ${bounds[from + i].join(" .. ")}\n${value} elements` };
  }) }));
  const drawn = drawLines(svg, width, { lines, labels, format: "error", title: "elements", xTitle: "|difference|" });
  const place = d3.scaleLog(bounds.slice(from, to + 1).map(b => Number(b[0])), labels.map((_, i) => drawn.x(i)));
  const shown = state.run < 0 ? 0 : state.run, marks = tables[shown].columns.slice(0, QUANTILES).map((column, q) => (
    { name: column[0], ...cellOf(row(tables[shown])[CELLS + q]) })).filter(q => q.low > 0 && Number.isFinite(q.high));
  let height = drawn.height + 4;
  marks.forEach(q => {
    const x = place(q.low), text = `${q.name} ${plain(q.low)} .. ${plain(q.high)}`;
    svg.append("rect").attr("x", x).attr("y", drawn.top + 8).attr("width", Math.max(1, place(q.high) - x)).attr("height", drawn.tall - 8)
      .attr("fill", colorOf(shown)).attr("fill-opacity", 0.16).attr("stroke", colorOf(shown)).attr("stroke-opacity", 0.4);
    svg.append("text").attr("x", 0).attr("y", height += 16).text(`${compared[shown].name}: ${text}`);
  });
  return height + 8;
}

makeFigure("fig-bins", {
  caption: () => `How many elements of ${data.components[data.main]} at layer ${state.layer} differ by how much. The shaded bins hold p50, p90, ` +
    "p95 and p99 of one mode: choose it in the legend.",
  draw: drawBins,
  rows: () => [["mode", "layer", "from", "to", "elements"]].concat(tablesOf("bins").flatMap((table, r) =>
    table.columns.slice(QUANTILES).map((column, i) => [compared[r].name, state.layer, column[0].split(" ")[0], column[0].split(" ")[1] || "",
      (rowOf(table, state.layer, data.main) || [])[CELLS + QUANTILES + i]])))
});

// ---- against calib_data_num ----

function trendLines() {
  const sizes = [...new Set(compared.filter(run => run.calib_data_num > 0 && run.order === 0).map(run => run.calib_data_num))].sort((a, b) => a - b);
  const modes = [...new Set(compared.filter(run => run.calib_data_num > 0).map(run => run.mode))];
  const tableOf = (mode, size) => tablesOf("series").find((_, r) =>
    compared[r].mode === mode && compared[r].calib_data_num === size && compared[r].order === 0);
  return { sizes, lines: modes.map(mode => ({ name: mode, points: sizes.map((size, i) => ({ i, table: tableOf(mode, size) }))
    .filter(p => p.table).map(({ i, table }) => ({ x: i, ...metricCell(table, state.layer, state.component),
      text: explainCell(data.runs[table.run], table, state.layer, state.component) })) })) };
}

makeFigure("fig-calib", {
  caption: () => `${metrics[state.metric].title} of ${data.components[state.component]} at layer ${state.layer}, against the number of calibration samples.`,
  draw: (svg, width) => {
    const { sizes, lines } = trendLines(), m = metrics[state.metric];
    return drawLines(svg, width, { lines, labels: sizes.map(String), format: m.format, title: m.title, xTitle: "calib_data_num" }).height;
  },
  rows: () => {
    const { sizes, lines } = trendLines();
    return [["mode", "calib_data_num", "layer", metrics[state.metric].key, "low", "high"]].concat(lines.flatMap(line =>
      line.points.map(p => [line.name, sizes[p.x], state.layer, p.value, p.low, p.high])));
  }
});

// ---- scales ----

const sites = has("scales") ? tablesOf("scales")[0].columns.map(column => column[0]) : [];

// One line for each site, of the last set of scales; in the CSV all.
makeFigure("fig-scales", {
  caption: () => `Scale of each site over the layers: ${tablesOf("scales")[tablesOf("scales").length - 1].title} calibration samples.`,
  draw: (svg, width) => {
    const table = tablesOf("scales")[tablesOf("scales").length - 1];
    const lines = sites.map((site, s) => ({ name: site, points: table.rows.map((row, i) => ({ x: i, value: row[CELLS + s], low: NaN, high: NaN,
      text: `${site}, layer ${row[LAYER]}\n` + tablesOf("scales").map(t => `${t.title}: ${plain(t.rows[i][CELLS + s])}`).join("\n") })) }));
    const run = state.run;
    state.run = -1;    // lines are no modes here
    const drawn = drawLines(svg, width, { lines, labels: table.rows.map(row => String(row[LAYER])), format: "error", title: "scale", xTitle: "layer" });
    state.run = run;
    svg.selectAll(".legend").attr("tabindex", null).attr("role", null).attr("aria-pressed", null).style("cursor", null).on("click", null).on("keydown", null);
    return drawn.height;
  },
  rows: () => [["scales", "layer", ...sites]].concat(tablesOf("scales").flatMap(table => table.rows.map(row => [table.title, row[LAYER], ...row.slice(CELLS)])))
});
