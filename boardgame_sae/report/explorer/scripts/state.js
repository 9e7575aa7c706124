// ---- state: all that is chosen, kept in the address, so that every view of the page can be linked to ------------

const FACETS = [
  { key: "game", title: "Game" },
  { key: "sweep", title: "Testbed" },
  { key: "hook_name", title: "Hook point" },
  { key: "layer", title: "Layer" },
  { key: "kind_title", title: "Kind" },
  { key: "architecture", title: "Architecture", ofSaes: true },
  { key: "n_latents", title: "Width", ofSaes: true },
];
const DEFAULTS = {
  x: "l0", y: firstScore, sort: firstScore, dir: "desc", sae: "", beside: "", latent: "", q: "", all: "",
  lsort: "above_chance", ldir: "desc", text: "", l0min: "", l0max: "", hidden: "",
  ...Object.fromEntries(FACETS.map(({ key }) => [key, ""])),
};
const FILTERS = ["text", "l0min", "l0max", ...FACETS.map(({ key }) => key)];
const state = { ...DEFAULTS };

// Several values of one kind stand in one text; no name holds this sign.
const SEPARATOR = "\u001f";
const chosenIn = (key) => (state[key] ? state[key].split(SEPARATOR) : []);

function readHash() {
  const written = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(DEFAULTS)) state[key] = written.get(key) ?? DEFAULTS[key];
  if (!axisOf[state.x]) state.x = DEFAULTS.x;
  if (!axisOf[state.y]) state.y = DEFAULTS.y;
  if (!data.table.some((column) => column.key === state.sort)) state.sort = data.table[0].key;
}

// The address of the page as it is, with some values changed: what is at its default is left out.
function addressOf(values) {
  const all = { ...state, ...values };
  return "#" + new URLSearchParams(Object.entries(all).filter(([key, value]) => value !== DEFAULTS[key]));
}

function change(values) {
  Object.assign(state, values);
  history.replaceState(null, "", addressOf({}) === "#" ? location.pathname + location.search : addressOf({}));
  draw(Object.keys(values));
}

const saeAddress = (row, latent) => addressOf({ sae: rowKey(row), latent: known(latent) ? String(latent) : "" });
const toggled = (key, value) => {
  const chosen = chosenIn(key);
  return (chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value]).join(SEPARATOR);
};
