// SPDX-License-Identifier: Apache-2.0
// Tables: sorted by a click on a heading, copied with a button; those that go with the choice.

// Numbers by size, words by letters; what has neither comes last.
function sortKey(text) {
  const match = /^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?/i.exec(text.trim());
  return match ? Number(match[0]) : text.trim();
}
function compareKeys(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, heading, column) {
  const down = heading.getAttribute("aria-sort") === "ascending", body = table.tBodies[0];
  const rows = [...body.rows].map(row => [sortKey(row.cells[column].textContent), row]);
  rows.sort((a, b) => (down ? -1 : 1) * compareKeys(a[0], b[0]));
  table.querySelectorAll("th[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  rows.forEach(([, row]) => body.append(row));
}

function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text).catch(() => copyByHand(text));
  return copyByHand(text);
}
function copyByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
const tsvOf = table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent.trim()).join("\t")).join("\n") + "\n";

// The columns that headings without a span stand over.
function columnsOf(table) {
  const lines = [...table.tHead.rows], free = lines.map(() => []), found = [];
  lines.forEach((line, l) => [...line.cells].forEach(cell => {
    let column = 0;
    while (free[l][column]) column++;
    for (let down = 0; down < cell.rowSpan; down++)
      for (let i = 0; i < cell.colSpan; i++) free[l + down][column + i] = true;
    if (cell.colSpan === 1) found.push([cell, column]);
  }));
  return found;
}

function serveTable(table) {
  columnsOf(table).forEach(([heading, column]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent || "name";
    heading.textContent = "";
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading, column));
  });
  const copy = document.createElement("button"), line = document.createElement("p");
  copy.type = "button";
  copy.className = "copy";
  copy.textContent = "Copy table";
  line.className = "buttons";
  line.append(copy);
  copy.addEventListener("click", () => copyText(tsvOf(table)));
  table.parentNode.after(line);
}

// ---- tables that go with the choice ----

function fillTable(id, caption, headings, rows) {
  const place = byId(id);
  if (!place) return;
  place.textContent = "";
  const box = d3.select(place).append("div").attr("class", "scroll").attr("tabindex", 0), table = box.append("table");
  table.append("caption").text(caption);
  table.append("thead").append("tr").selectAll("th").data(headings).enter().append("th").attr("scope", "col").text(text => text);
  table.append("tbody").selectAll("tr").data(rows).enter().append("tr").selectAll("td").data(row => row).enter()
    .append(function (_, i) { return document.createElement(i === 0 ? "th" : "td"); }).attr("scope", function () {
      return this.tagName === "TH" ? "row" : null; }).text(text => text);
  serveTable(table.node());
}

watchers.push(() => {
  if (!has("series")) return;
  fillTable("all-metrics", `All metrics of ${data.components[state.component]} at layer ${state.layer}, with 95 % intervals`,
    ["mode", ...metrics.map(m => m.title), "elements"],
    tablesOf("series").filter(table => rowOf(table, state.layer, state.component)).map((table, r) => {
      const row = rowOf(table, state.layer, state.component);
      return [compared[r].name, ...metrics.map((m, i) => { const cell = cellOf(row[CELLS + i]);
        return `${show(cell.value, m.format)} (${showInterval(cell, m.format)})${cell.marks}`; }), String(row[row.length - 1])];
    }));
});
watchers.push(() => {
  if (!has("pairs")) return;
  fillTable("all-pairs", `Pairs at layer ${state.layer}, by MSE`, ["pair", "change", "low", "high", "p, corrected", "better", "samples needed"],
    pairRows(state.layer).map(row => { const cell = cellOf(row[CHANGE]);
      return [`${row[FIRST]} : ${row[SECOND]}`, plain(cell.value) + cell.marks, plain(cell.low), plain(cell.high), plain(cellOf(row[P]).value), row[BETTER],
        row[NEEDED] === "" ? "" : plain(Math.ceil(row[NEEDED]))]; }));
});
