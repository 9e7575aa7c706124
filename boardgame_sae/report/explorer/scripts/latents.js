// ---- finding latents: by square, property or number, in one SAE or in all ---------------------------------------

const LATENT_COLUMNS = [
  { key: "sae", title: "SAE", words: true }, { key: "latent", title: "latent" }, { key: "label", title: "class", words: true },
  { key: "f1", title: "F1" }, { key: "above_chance", title: "above chance" }, { key: "precision", title: "precision" },
  { key: "recall", title: "recall" }, { key: "density", title: "on at" }, { key: "n_precise", title: "classes told precisely", count: true },
];
let nLatents = AT_ONCE;

const words = (text) => text.toLowerCase().replaceAll("_", " ").split(/[\s,;]+/).filter(Boolean);

// Which classes of a file fit the words that are no numbers, and which numbers a latent must have.
function fitting(table, query) {
  const wanted = words(query), numbers = wanted.filter((word) => /^\d+$/.test(word)).map(Number);
  const texts = wanted.filter((word) => !/^\d+$/.test(word));
  const fits = table.classes.map(([property, label]) => {
    const own = words(`${label} ${property}`);
    return texts.every((word) => own.some((one) => one.startsWith(word)));
  });
  return (place) => fits[table.class[place]] && numbers.every((one) => table.latent[place] === one);
}

function latentAt(row, table, place) {
  const [property, label] = table.classes[table.class[place]];
  const numbers = Object.fromEntries(["f1", "precision", "recall", "threshold", "above_chance", "density", "n_precise"].map((key) => [key, table[key][place]]));
  return { row, sae: titleOf(row), place, latent: table.latent[place], property, label: label.replaceAll("_", " "), ...numbers };
}

function latentsOf(row, query) {
  const table = loaded("latents", row.file);
  if (!table) return [];
  const fits = fitting(table, query);
  return table.latent.map((_, place) => place).filter(fits).map((place) => latentAt(row, table, place));
}

function bestByClass(table) {
  const best = new Map();
  table?.latent.forEach((latent, place) => {
    const label = table.classes[table.class[place]][1], f1 = table.f1[place];
    if (!(best.get(label)?.f1 >= f1)) best.set(label, { latent, f1 });
  });
  return best;
}

const searchedRows = () => (state.all ? shownRows() : [rowOf(state.sae)]).filter((row) => known(row?.file));

function latentLine(one) {
  const cells = LATENT_COLUMNS.filter(({ key }) => key !== "sae" || state.all).map(({ key, words: text, count }) => {
    if (key === "latent") return element("td", { class: "number" }, element("a", { href: saeAddress(one.row, one.latent) }, String(one.latent)));
    return element("td", { class: text ? "" : "number" }, key === "density" ? percent(one[key]) : count ? String(one[key]) : number(one[key]));
  });
  const chosen = rowKey(one.row) === state.sae && String(one.latent) === state.latent;
  return element("tr", { class: chosen ? "chosen" : "" }, ...cells);
}

function foundLatents() {
  return sortedBy(searchedRows().flatMap((row) => latentsOf(row, state.q)), state.lsort, state.ldir);
}

function drawLatents() {
  const searched = searchedRows();
  byId("all").checked = state.all === "1";
  if (byId("q").value !== state.q) byId("q").value = state.q;
  byId("latent-table").tHead.replaceChildren(element("tr", {}, ...LATENT_COLUMNS.filter(({ key }) => key !== "sae" || state.all)
    .map((column) => headCell(column, "lsort", "ldir"))));
  if (!searched.length) {
    byId("latent-count").textContent = rowOf(state.sae) ? "The scores of this one have no table of latents." : "Choose an SAE above, or search all of them.";
    byId("latent-more").hidden = true;
    return byId("latent-table").tBodies[0].replaceChildren();
  }
  byId("latent-count").textContent = "loading…";
  return whenLoaded("latents", searched.map((row) => row.file), (whole) => {
    const found = foundLatents();
    byId("latent-table").tBodies[0].replaceChildren(...found.slice(0, nLatents).map(latentLine));
    byId("latent-more").hidden = found.length <= nLatents;
    byId("latent-more").textContent = `Show more (${Math.min(nLatents, found.length)} of ${found.length} shown)`;
    byId("latent-count").textContent = `${found.length} latents of ${searched.length === 1 ? titleOf(searched[0]) : `${searched.length} SAEs`}` +
      (whole ? "" : "; some files of the folder latents/ are not beside this page");
  });
}

byId("q").addEventListener("input", (event) => { nLatents = AT_ONCE; change({ q: event.target.value }); });
byId("all").addEventListener("change", (event) => change({ all: event.target.checked ? "1" : "" }));
byId("latent-more").addEventListener("click", () => { nLatents += 5 * AT_ONCE; drawLatents(); });
byId("latent-download").addEventListener("click", () =>
  saveAs("latents.csv", csvOf([...LATENT_COLUMNS.map(({ key }) => key), "property", "threshold"], foundLatents())));
