// ---- filters ----------------------------------------------------------------------------------------------------

const MANY = 14;  // values of a kind from which on they are folded away

function passes(row) {
  for (const { key, ofSaes } of FACETS) {
    const chosen = chosenIn(key);
    // what SAEs are compared with has no architecture and no width, and stays
    if (chosen.length && !(ofSaes && !known(row.architecture) && !isSae(row)) && !chosen.includes(String(row[key]))) return false;
  }
  if (known(row.l0) && ((state.l0min && row.l0 < Number(state.l0min)) || (state.l0max && row.l0 > Number(state.l0max)))) return false;
  const name = `${row.recipe} ${row.name} ${row.kind_title}`.toLowerCase();
  return state.text.toLowerCase().split(/\s+/).every((word) => name.includes(word));
}

const shownRows = () => rows.filter(passes);

function facetElement({ key, title }) {
  const counts = new Map();
  for (const row of rows) if (known(row[key])) counts.set(row[key], (counts.get(row[key]) ?? 0) + 1);
  if (counts.size < 2) return null;
  const values = [...counts].sort(([a], [b]) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
  const chosen = chosenIn(key);
  const chips = values.map(([value, count]) => element("button", {
    type: "button", class: "chip", "aria-pressed": String(chosen.includes(String(value))), "data-facet": key, "data-value": String(value),
    onclick: () => change({ [key]: toggled(key, String(value)) }),
  }, String(value), element("small", {}, ` ${count}`)));
  const list = element("div", { class: "chips", role: "group", "aria-label": title }, ...chips);
  if (values.length <= MANY) return element("div", { class: "facet" }, element("span", { class: "soft" }, title), list);
  const told = chosen.length ? `${title}: ${chosen.length} of ${values.length}` : `${title}: all ${values.length}`;
  return element("details", { class: "facet", open: chosen.length > 0 }, element("summary", { class: "soft" }, told), list);
}

function drawFilters(n) {
  const focused = document.activeElement?.dataset;
  const place = focused?.facet && [focused.facet, focused.value];
  byId("facets").replaceChildren(...FACETS.map(facetElement).filter(known));
  if (place) byId("facets").querySelector(`[data-facet="${CSS.escape(place[0])}"][data-value="${CSS.escape(place[1])}"]`)?.focus();
  for (const id of ["text", "l0min", "l0max"]) if (byId(id).value !== state[id]) byId(id).value = state[id];
  byId("count").textContent = `${n} of ${rows.length} results`;
  byId("clear").hidden = FILTERS.every((key) => !state[key]);
}

for (const id of ["text", "l0min", "l0max"]) byId(id).addEventListener("input", (event) => change({ [id]: event.target.value }));
byId("clear").addEventListener("click", () => change(Object.fromEntries(FILTERS.map((key) => [key, ""]))));
