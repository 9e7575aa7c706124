// ---- together: drawing what a change concerns, and the keys -----------------------------------------------------

function draw(keys) {
  const any = (...names) => names.some((name) => keys.includes(name));
  const filtered = any(...FILTERS);
  const list = shownRows();
  if (filtered) nLines = AT_ONCE;
  if (filtered) drawFilters(list.length);
  if (any("x", "y")) pickers.forEach((picker) => picker.draw());
  if (filtered || any("x", "y", "sae", "beside", "hidden")) drawPlot(list);
  if (filtered || any("sort", "dir", "sae")) drawTable();
  if (any("sae", "beside", "x", "y")) drawDetails();
  if (any("sae", "latent", "q", "all", "lsort", "ldir") || (filtered && state.all)) drawLatents();
  if (any("sae", "latent")) drawLatent();
}

// The one after or before the chosen one among some; the first where none is chosen.
function neighbour(list, place, by) {
  return list.length ? list[place < 0 ? 0 : (place + by + list.length) % list.length] : undefined;
}

function stepSae(by) {
  const list = tableRows(), next = neighbour(list, list.findIndex((row) => rowKey(row) === state.sae), by);
  if (next) change({ sae: rowKey(next), latent: "" });
}

function stepLatent(by) {
  const list = foundLatents();
  const next = neighbour(list, list.findIndex((one) => rowKey(one.row) === state.sae && String(one.latent) === state.latent), by);
  if (next) change({ sae: rowKey(next.row), latent: String(next.latent) });
}

const KEYS = {
  j: () => stepSae(1), k: () => stepSae(-1), n: () => stepLatent(1), p: () => stepLatent(-1),
  "/": () => byId("q").focus(), f: () => byId("text").focus(), x: () => byId("x").focus(), y: () => byId("y").focus(),
  b: () => byId("beside")?.focus(), Escape: () => change({ sae: "", beside: "", latent: "" }), "?": () => byId("help").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});
byId("help-button").addEventListener("click", () => byId("help").showModal());

readHash();
draw(Object.keys(state));
listenToPlot();
for (const query of [darkPaper, narrow]) query.addEventListener("change", () => drawPlot(shownRows()));
addEventListener("hashchange", () => {
  const before = { ...state };
  readHash();
  draw(Object.keys(state).filter((key) => state[key] !== before[key]));
  if (state.latent !== before.latent && state.latent) byId("latent").scrollIntoView({ block: "start" });
  else if (state.sae !== before.sae && state.sae) byId("details").scrollIntoView({ block: "nearest" });
});
if (state.latent) whenLoaded("latents", searchedRows().map((row) => row.file), () => byId("latents-section").scrollIntoView());
else if (state.sae) byId("details").scrollIntoView();
