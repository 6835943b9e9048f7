// SPDX-License-Identifier: Apache-2.0
// What the page shows: the numbers of the report, and the choice of metric, component and layer.
// Runs once for each report of the page, whose ids end in `suffix`.
const byId = id => document.getElementById(id + suffix);
const data = JSON.parse(byId("data").textContent);
const LAYER = 0, COMPONENT = 1, NAME = 2, CELLS = 3;    // places in a row

const tablesOf = key => (data.sections[key] || { tables: [] }).tables;
const rowsOf = key => tablesOf(key).flatMap(table => table.rows);
const has = key => rowsOf(key).length > 0;

// A cell as {value, low, high, marks}; what is undefined is NaN.
function cellOf(raw) {
  const parts = Array.isArray(raw) ? raw : [raw, null, null, 0];
  const number = v => typeof v === "number" ? v : v === "inf" ? Infinity : v === "-inf" ? -Infinity : NaN;
  return { value: number(parts[0]), low: number(parts[1]), high: number(parts[2]), marks: [..."=~#*?*"].filter((_, bit) => parts[3] & 1 << bit).join("") };
}

const compared = tablesOf("series").map(table => data.runs[table.run]);
const metrics = has("series")
  ? tablesOf("series")[0].columns.slice(0, -1).map(([key, title, format]) => ({ key, title, format })) : [];
const components = has("series") ? [...new Set(rowsOf("series").map(row => row[COMPONENT]))].sort((a, b) => a - b) : [];
const layers = has("series") ? [...new Set(rowsOf("series").map(row => row[LAYER]))].sort((a, b) => a - b) : [];

// Rows of a table by layer and component.
const indices = new Map();
function rowOf(table, layer, component) {
  if (!indices.has(table)) indices.set(table, new Map(table.rows.map(row => [row[LAYER] + "," + row[COMPONENT], row])));
  return indices.get(table).get(layer + "," + component);
}

// ---- the choice ----

const state = { metric: 0, component: data.main, layer: layers[layers.length - 1], run: -1 };
const watchers = [];

function readLink() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const metric = metrics.findIndex(m => m.key === asked.get("metric"));
  const component = data.components.indexOf(asked.get("component"));
  const layer = asked.has("layer") ? Number(asked.get("layer")) : NaN;
  if (metric >= 0) state.metric = metric;
  if (components.includes(component)) state.component = component;
  if (layers.includes(layer)) state.layer = layer;
}

function writeLink() {
  const link = "#" + new URLSearchParams({ metric: metrics[state.metric].key, component: data.components[state.component],
    layer: state.layer });
  if (link !== location.hash) history.replaceState(null, "", link);
}

function choose(change) {
  Object.assign(state, change);
  if (has("series")) writeLink();
  watchers.forEach(draw => draw());
}

// ---- numbers for people ----

const SIGNS = { "=": "equal to another mode in every sample", "~": "no more than rounding noise from another mode",
  "#": "no further from the reference than from its own re-run", "*": "more text improves nothing",
  "?": "more text improves nothing for sure" };

function plain(v) {
  if (Number.isNaN(v)) return "n/a";
  if (!Number.isFinite(v)) return v > 0 ? "infinite" : "-infinite";
  if (v === 0) return "0";
  const size = Math.abs(v), rounded = Number(v.toPrecision(4));    // shows no digit that it does not have
  return size >= 1e-3 && size < 1e5 ? String(rounded) : rounded.toExponential().replace("+", "");
}

function show(v, format) {
  if (Number.isNaN(v) || !Number.isFinite(v)) return plain(v);
  if (format === "share") return plain(100 * v) + " %";
  return format === "correlation" || format === "count" ? String(v) : plain(v);
}

function showInterval(cell, format) {
  return Number.isNaN(cell.low) ? "no interval" : show(cell.low, format) + " .. " + show(cell.high, format);
}

const showMarks = marks => [...marks].map(sign => "\n" + sign + " " + SIGNS[sign]).join("");
