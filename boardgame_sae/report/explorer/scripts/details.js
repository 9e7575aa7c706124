// ---- one SAE, or two side by side -------------------------------------------------------------------------------

const bestName = () => (axisOf[firstScore]?.title ?? "").toLowerCase();
const plainTable = (head, lines) => element("div", { class: "wide" }, element("table", {},
  ...(head ? [element("thead", {}, element("tr", {}, ...head.map((title, place) => element("th", { scope: "col", class: place ? "number" : "" }, title))))] : []),
  element("tbody", {}, ...lines)));

// Which of two numbers is better, where their intervals do not meet.
function verdict({ key, better }, row, beside) {
  const [a, b] = [row, beside].map((one) => ({ value: one[key], low: one[`${key}_low`] ?? one[key], high: one[`${key}_high`] ?? one[key] }));
  if (!better || (a.low <= b.high && b.low <= a.high)) return "";
  return (a.value > b.value) === (better === "higher") ? "better" : "worse";
}

function numberLine(axis, row, beside) {
  const cells = [element("td", {}, axis.title), element("td", { class: "number" }, withInterval(row, axis.key))];
  if (beside) {
    const both = known(row[axis.key]) && known(beside[axis.key]);
    const difference = both ? row[axis.key] - beside[axis.key] : null;
    cells.push(element("td", { class: "number" }, withInterval(beside, axis.key)),
      element("td", { class: `number ${both ? verdict(axis, row, beside) : ""}` }, difference > 0 ? `+${number(difference)}` : number(difference)));
  }
  return element("tr", { title: axis.meaning }, ...cells);
}

function numberTables(row, beside) {
  const shown = data.axes.filter((axis) => known(row[axis.key]) || (beside && known(beside[axis.key])));
  const head = beside ? ["", "this one", "the other", "difference"] : null;
  const lines = (axes) => plainTable(head, axes.map((axis) => numberLine(axis, row, beside)));
  const [main, rest] = [shown.filter((axis) => axis.main), shown.filter((axis) => !axis.main)];
  return [lines(main), element("details", {}, element("summary", {}, `all ${rest.length} other numbers`), lines(rest))];
}

// The classes that both SAEs have latents for, by how much better one of them tells it.
function classTable(row, beside) {
  const [own, other] = [row, beside].map((one) => bestByClass(loaded("latents", one.file)));
  const classes = [...own.keys()].filter((label) => other.has(label));
  const lines = classes.map((label) => ({ label, a: own.get(label), b: other.get(label), by: own.get(label).f1 - other.get(label).f1 }))
    .sort((a, b) => Math.abs(b.by) - Math.abs(a.by)).slice(0, 20);
  const link = (one, latent) => element("td", { class: "number" }, element("a", { href: saeAddress(one, latent.latent) }, `${number(latent.f1)} (${latent.latent})`));
  return [element("h4", {}, "Classes that one tells better"), plainTable(["class", "F1 (latent)", "F1 (latent)", "difference"], lines.map((line) =>
    element("tr", {}, element("td", {}, line.label), link(row, line.a), link(beside, line.b), element("td", { class: "number" }, number(line.by)))))];
}

function besideChooser(row) {
  const others = sortedBy(rows.filter((one) => one !== row), "recipe", "asc");
  const chooser = element("select", { id: "beside", onchange: (event) => change({ beside: event.target.value }) }, new Option("nothing", "", false, !state.beside),
    ...others.map((one) => new Option(titleOf(one) + (isSae(one) ? "" : ` (${one.kind_title})`), rowKey(one), false, rowKey(one) === state.beside)));
  return element("label", {}, "beside it: ", chooser);
}

function drawDetails() {
  const row = rowOf(state.sae), beside = rowOf(state.beside), panel = byId("details");
  readOut(row);
  if (!row) return panel.replaceChildren(element("p", { class: "soft" }, "Click a point, or a name in the table."));
  const both = beside && known(row.file) && known(beside.file);
  panel.replaceChildren(
    element("h3", {}, titleOf(row), element("a", { class: "address", href: saeAddress(row), title: "address of this SAE" }, " #")),
    element("p", { class: "soft" }, `${row.kind_title} · ${row.name}` + (row.n_seeds > 1 ? " · the mean of its seeds" : "")),
    besideChooser(row),
    ...(beside ? [element("p", {}, "The other: ", element("a", { href: saeAddress(beside) }, titleOf(beside))),
      element("p", { class: "soft" }, "Coloured where the intervals do not meet; `boardgame-sae compare` gives intervals of the differences.")] : []),
    ...numberTables(row, beside));
  if (both) whenLoaded("latents", [row.file, beside.file], () => state.sae === rowKey(row) && panel.append(...classTable(row, beside)));
}
