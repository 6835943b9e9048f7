// SPDX-License-Identifier: Apache-2.0
// Starts the page: controls, tables, and the first drawing.
function fillSelect(id, entries, key) {
  const select = byId(id);
  select.textContent = "";
  entries.forEach(([value, text]) => select.append(new Option(text, value)));
  select.addEventListener("change", () => choose({ [key]: Number(select.value) }));
  watchers.push(() => { select.value = String(state[key]); });
}

function redrawAll() {
  watchers.forEach(draw => draw());
}

if (suffix === "")
  document.querySelectorAll("main table, .about table").forEach(table => { if (!table.closest(".without-script")) serveTable(table); });
if (has("series")) {
  fillSelect("metric", metrics.map((m, i) => [i, m.title]), "metric");
  fillSelect("component", components.map(c => [c, data.components[c]]), "component");
  fillSelect("layer", layers.map(layer => [layer, String(layer)]), "layer");
  byId("controls").addEventListener("submit", event => event.preventDefault());
  readLink();
  addEventListener("hashchange", () => { readLink(); redrawAll(); });
}
if (["series", "pieces", "amplification", "mix", "units"].some(has)) {
  document.documentElement.classList.add("scripted");
  redrawAll();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    redrawAll();
  });
}
