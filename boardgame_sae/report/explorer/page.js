"use strict";
// The explorer: a plot, a table and latent cards over the data in the page. State lives in the URL's hash.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const axisOf = Object.fromEntries(data.axes.map((axis) => [axis.key, axis]));
const bedOf = (row) => `${row.sweep} · ${row.hook_name}`;
const beds = [...new Set(data.rows.map(bedOf))];
const cardsOf = (row) =>
  data.cards.find((each) => each.sweep === row.sweep && each.hook_name === row.hook_name && each.name === row.name);
const has = (key) => data.rows.some((row) => row[key] !== null && row[key] !== undefined);
const known = (value) => value !== null && value !== undefined;

const TABLE = [
  ["recipe", "name"],
  ["kind_title", "kind"],
  ["l0", "L0"],
  ["core", "loss recovered"],
  ["core_explained_variance", "expl. variance"],
  ["core_frac_alive", "alive"],
  ["coverage", "coverage"],
  ["coverage_above_chance", "above chance"],
  ["coverage.high", "coverage, high level"],
  ["board_reconstruction", "reconstruction"],
  ["board_reconstruction.high", "reconstr., high level"],
  ["direction_recovery", "direction recovery"],
].filter(([key], place) => place < 2 || has(key));
if (beds.length > 1) TABLE.splice(1, 0, ["sweep", "sweep"], ["hook_name", "hook point"]);

// ---- state ------------------------------------------------------------------------------------------------------

const state = { x: "l0", y: "coverage", bed: beds[0] ?? "", sort: "coverage", dir: "desc", row: "", cards: "" };

function readHash() {
  const found = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(state)) if (found.has(key)) state[key] = found.get(key);
  if (!axisOf[state.x]) state.x = "l0";
  if (!axisOf[state.y]) state.y = data.axes[Math.min(1, data.axes.length - 1)].key;
  if (!TABLE.some(([key]) => key === state.sort)) state.sort = TABLE[0][0];
  if (!beds.includes(state.bed)) state.bed = "";
}

function change(values) {
  Object.assign(state, values);
  history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  draw();
}

const rowKey = (row) => `${bedOf(row)} · ${row.name}`;
const shownRows = () => data.rows.filter((row) => !state.bed || bedOf(row) === state.bed);

// ---- small helpers ----------------------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const escaped = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]);

function number(value) {
  if (!known(value)) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) > 1) return String(value);
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3);
}

function withInterval(row, key) {
  const low = row[`${key}_low`];
  return number(row[key]) + (known(low) ? ` [${number(low)},\u00a0${number(row[`${key}_high`])}]` : "");
}

function fill(select, options, chosen) {
  const groups = new Map();
  for (const { value, text, group } of options) {
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(new Option(text, value, false, value === chosen));
  }
  const made = [...groups].map(([group, list]) => {
    if (!group) return list;
    return [element("optgroup", { label: group }, ...list)];
  });
  select.replaceChildren(...made.flat());
}

// ---- the plot ---------------------------------------------------------------------------------------------------

const LINES = { probe: "solid", neurons: "dash", residual: "dot" };
const SINGLE = ", each seed";
const SIGNS = { probe: "star", sparse_probe: "diamond", neurons: "hexagon-open", residual: "asterisk-open" };
const BUTTONS = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"];

function plainTicks(values) {
  const ticks = [];
  const low = Math.min(...values) / 2, high = Math.max(...values) * 2;
  const steps = high < 40 * low ? [1, 1.5, 2, 3, 5, 7] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(2)));
  return ticks.filter((tick) => tick >= low && tick <= high);
}

function axisLayout(key, values, colours) {
  const axis = axisOf[key];
  const arrow = axis.better === "higher" ? " (higher is better)" : axis.better === "lower" ? " (lower is better)" : "";
  const layout = { title: { text: axis.title + arrow }, gridcolor: colours.line, zerolinecolor: colours.line };
  const positive = values.filter((value) => value > 0);
  if (key !== "l0" || !positive.length) return layout;
  const ticks = plainTicks(positive);
  const range = [Math.log10(Math.min(...positive) / 1.35), Math.log10(Math.max(...positive) * 1.35)];
  return { ...layout, type: "log", tickvals: ticks, ticktext: ticks.map(String), range };
}

function hover(row) {
  const lines = [`<b>${escaped(row.recipe)}</b>`, escaped(row.kind_title)];
  if (beds.length > 1) lines.push(escaped(bedOf(row)));
  for (const key of new Set([state.x, state.y])) lines.push(`${escaped(axisOf[key].title)}: ${withInterval(row, key)}`);
  return lines.join("<br>");
}

function pointTrace(name, rows, marker, more = {}) {
  const bars = rows.every((row) => known(row[`${state.y}_low`]));
  return {
    type: "scatter", mode: "markers", name,
    x: rows.map((row) => row[state.x]), y: rows.map((row) => row[state.y]),
    customdata: rows.map((row) => rowKey(row)), text: rows.map(hover), hovertemplate: "%{text}<extra></extra>",
    marker: { size: 11, ...marker },
    error_y: bars ? {
      type: "data", symmetric: false, thickness: 1.2, width: 3,
      array: rows.map((row) => row[`${state.y}_high`] - row[state.y]),
      arrayminus: rows.map((row) => row[state.y] - row[`${state.y}_low`]),
    } : undefined,
    ...more,
  };
}

function traces(rows, colours) {
  const groups = new Map();
  const whole = rows.filter((row) => known(row[state.x]) && known(row[state.y]));
  for (const row of whole) {
    const name = (row.kind === "sae" ? row.architecture : row.kind_title) + (known(row.pooled_as) ? SINGLE : "");
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  const made = [...groups].map(([name, list]) => {
    const style = data.styles[list[0].architecture] || { colour: colours.ink, symbol: "star" };
    const colour = list[0].kind === "sae" ? style.colour : list[0].kind in SIGNS ? colours.ink : "#8a8a8a";
    const marker = { color: colour, symbol: SIGNS[list[0].kind] || style.symbol };
    if (name.endsWith(SINGLE)) return pointTrace(name, list, { ...marker, size: 6, opacity: 0.6 }, { error_y: undefined });
    if (list[0].kind !== "sparse_probe") return pointTrace(name, list, marker);
    list.sort((a, b) => a[state.x] - b[state.x]);
    return pointTrace(name, list, { ...marker, size: 6 }, { mode: "lines+markers", line: { color: colour, width: 1 } });
  });
  const xs = whole.map((row) => row[state.x]).filter((x) => state.x !== "l0" || x > 0);
  if (!xs.length) return made;
  const ends = state.x === "l0" ? [Math.min(...xs) / 1.35, Math.max(...xs) * 1.35] : [Math.min(...xs), Math.max(...xs)];
  for (const row of rows.filter((row) => !known(row[state.x]) && known(row[state.y]))) {
    made.push(level(row.recipe + (state.bed || beds.length < 2 ? "" : ` (${bedOf(row)})`), row[state.y], ends,
      { color: colours.ink, dash: LINES[row.kind] || "dash", width: 1.3 }, hover(row), rowKey(row)));
  }
  const chance = rows.find((row) => known(row[`${state.y}_always_on`]));
  if (chance && (state.bed || beds.length < 2))
    made.push(level("always on (chance)", chance[`${state.y}_always_on`], ends,
      { color: "#8a8a8a", dash: "dashdot", width: 1.3 }, "a latent that is always on", ""));
  return made;
}

function level(name, y, ends, line, text, key) {
  return { type: "scatter", mode: "lines", name: name, x: ends, y: [y, y], line, hovertemplate: `${text}<extra></extra>`,
    customdata: [key, key] };
}

function drawPlot() {
  const style = getComputedStyle(document.documentElement);
  const colours = { ink: style.getPropertyValue("--ink").trim(), line: style.getPropertyValue("--line").trim() };
  const rows = shownRows();
  const drawn = traces(rows, colours);
  const chosen = rows.find((row) => rowKey(row) === state.row && known(row[state.x]) && known(row[state.y]));
  if (chosen)
    drawn.push({ type: "scatter", mode: "markers", x: [chosen[state.x]], y: [chosen[state.y]], hoverinfo: "skip",
      showlegend: false, marker: { size: 22, symbol: "circle-open", color: colours.ink, line: { width: 2 } } });
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.ink, family: "system-ui, sans-serif" },
    margin: { l: 70, r: 20, t: 20, b: 60 }, hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8a8a8a", activecolor: colours.ink },
    legend: { orientation: "h", y: -0.18, x: 0 },
    xaxis: axisLayout(state.x, rows.map((row) => row[state.x]).filter(known), colours),
    yaxis: axisLayout(state.y, rows.map((row) => row[state.y]).filter(known), colours),
  };
  Plotly.react("plot", drawn, layout, { displayModeBar: "hover", displaylogo: false, responsive: true, modeBarButtons: [BUTTONS] });
  byId("meaning").textContent =
    [...new Set([state.y, state.x])].map((key) => `${axisOf[key].title}: ${axisOf[key].meaning}.`).join(" ");
}

// ---- one SAE ----------------------------------------------------------------------------------------------------

function drawDetails() {
  const row = data.rows.find((each) => rowKey(each) === state.row);
  const panel = byId("details");
  if (!row) return panel.replaceChildren(element("p", { class: "soft" }, "Click a point, or a name in the table."));
  const main = data.axes.filter((axis) => axis.group === "scores" && known(row[axis.key]));
  const rest = data.axes.filter((axis) => axis.group !== "scores" && known(row[axis.key]));
  const lines = (axes) => element("table", {}, element("tbody", {}, ...axes.map((axis) =>
    element("tr", { title: axis.meaning }, element("td", {}, axis.title),
      element("td", { class: "number" }, withInterval(row, axis.key))))));
  const found = cardsOf(row);
  const none = row.kind !== "sae" ? "" : row.n_seeds > 1 ? "The mean of its seeds; latent cards are of single SAEs."
    : "Latent cards are kept for the SAEs of best coverage.";
  return panel.replaceChildren(
    element("h3", {}, row.recipe),
    element("p", { class: "soft" }, `${row.kind_title} · ${bedOf(row)} · ${row.name}`),
    lines(main),
    element("details", {}, element("summary", {}, `all ${rest.length} other numbers`), lines(rest)),
    ...(found ? [element("h3", {}, "Its best latents"), ...found.cards.slice(0, 3).map((card) => cardElement(card, found)),
      element("p", { class: "soft" }, `All ${found.cards.length} stand at the end of the page.`)]
      : [element("p", { class: "soft" }, none)]),
  );
}

// ---- boards -----------------------------------------------------------------------------------------------------

// Cells are given row by row. A game with glyphs has them on squares of two colours, others have discs on green.
function boardSvg(found, { cells = "", last = [], heat = null, scale = 1, label = "" }) {
  const [height, width] = found.shape;
  const top = (row) => (found.first_row_on_top ? row : height - 1 - row);
  const pieces = Object.keys(found.glyphs).length > 0;
  const parts = [];
  for (let s = 0; s < height * width; s++) {
    const x = s % width, y = top(Math.floor(s / width)), cell = cells[s] || ".";
    const ground = heat ? "#f4f4f2" : !pieces ? "#3a8f5c" : (x + y) % 2 ? "#b58863" : "#f0d9b5";
    const lit = pieces && !heat && last.includes(s) ? "#e8c547" : ground;
    parts.push(`<rect x="${x}" y="${y}" width="1" height="1" fill="${lit}" stroke="#00000040" stroke-width="0.03"/>`);
    if (heat) parts.push(heatSquare(x, y, heat[s], scale, found.squares[s]));
    else if (pieces && found.glyphs[cell]) parts.push(glyph(x, y, found.glyphs[cell], cell !== cell.toLowerCase()));
    else if (!pieces && cell !== ".")
      parts.push(`<circle cx="${x + 0.5}" cy="${y + 0.5}" r="0.4" fill="${cell === "b" ? "#111" : "#fff"}"/>`);
  }
  for (const s of pieces ? [] : last)
    parts.push(`<circle cx="${(s % width) + 0.5}" cy="${top(Math.floor(s / width)) + 0.5}" r="0.13" fill="#e4572e"/>`);
  const name = (x, y, text) =>
    `<text x="${x}" y="${y}" font-size="0.4" text-anchor="middle" dominant-baseline="central" fill="currentColor" fill-opacity="0.7">${escaped(text)}</text>`;
  found.columns.forEach((text, column) => parts.push(name(column + 0.5, height + 0.3, text)));
  found.rows.forEach((text, row) => parts.push(name(-0.3, top(row) + 0.5, text)));
  return `<svg viewBox="-0.6 -0.05 ${width + 0.65} ${height + 0.65}" role="img" aria-label="${escaped(label)}">${parts.join("")}</svg>`;
}

// The same filled sign for both players: white with a dark rim, black with a light one.
function glyph(x, y, sign, first) {
  return `<text x="${x + 0.5}" y="${y + 0.53}" font-size="0.88" text-anchor="middle" dominant-baseline="central" paint-order="stroke" ` +
    `fill="${first ? "#fff" : "#111"}" stroke="${first ? "#111" : "#ffffff90"}" stroke-width="${first ? 0.11 : 0.05}" stroke-linejoin="round">${escaped(sign)}\uFE0E</text>`;
}

function heatSquare(x, y, value, scale, square) {
  const points = Math.round(100 * value);
  const colour = value > 0 ? "#e69f00" : "#0072b2";
  const text = points ? `<text x="${x + 0.5}" y="${y + 0.52}" font-size="0.34" text-anchor="middle" dominant-baseline="central" fill="#111">${points > 0 ? "+" : "−"}${Math.abs(points)}</text>` : "";
  return `<rect x="${x}" y="${y}" width="1" height="1" fill="${colour}" fill-opacity="${(0.85 * Math.abs(value) / scale).toFixed(3)}">` +
    `<title>${escaped(square)}: ${(100 * value).toFixed(1)} points</title></rect>${text}`;
}

function boardFigure(found, options, caption, title, kind) {
  const figure = element("figure", { class: kind, title });
  figure.innerHTML = boardSvg(found, options);
  figure.append(element("figcaption", {}, ...caption));
  return figure;
}

function cardElement(card, found) {
  const about = card.label.endsWith(card.property) ? "" : ` (${card.property.replaceAll("_", " ")})`;
  const scale = Math.max(0.02, ...card.mean.flatMap((each) => each.difference.map(Math.abs)));
  const stats = `F1 ${number(card.f1)} (always on: ${number(card.chance)}) · precision ${number(card.precision)} · recall ${number(card.recall)} · ` +
    `on above ${card.threshold.toFixed(1)} of its largest activation · then on at ${(100 * card.on).toFixed(1)}% of positions, above zero at ` +
    `${(100 * card.density).toFixed(1)}% · true at ${(100 * card.base).toFixed(1)}% · at some threshold 95% precise on train ` +
    `about ${card.n_precise} ${card.n_precise === 1 ? "class" : "classes"}`;
  const means = card.mean.map((each) => boardFigure(found, { heat: each.difference, scale, label: `${each.class}, difference by square` },
    [`${each.class}: more (+) or less (−) often`], "", "mean"));
  const boards = card.boards.map((board) => boardFigure(found,
    { cells: board.cells, last: board.last, label: `after ${board.text}` },
    [`${number(board.activation)} after ply ${board.ply}`, element("br"), `${board.first_to_move ? "first" : "second"} to move`,
      element("span", { class: "moves" }, board.text)], board.text, "top"));
  return element("article", { class: "card" },
    element("h4", {}, `latent ${card.latent}: “${card.label.replaceAll("_", " ")}”` + about),
    element("p", { class: "soft" }, stats),
    element("div", { class: "boards" }, ...means), element("div", { class: "boards" }, ...boards));
}

function drawCards() {
  const options = data.cards.map((each, place) => {
    const row = data.rows.find((one) => cardsOf(one) === each);
    const name = row ? `${row.recipe}, coverage ${number(row.coverage)}` : each.name;
    return { value: String(place), text: beds.length > 1 ? `${name} — ${each.sweep} · ${each.hook_name}` : name };
  });
  if (!data.cards[Number(state.cards)]) state.cards = "0";
  fill(byId("card-sae"), options, state.cards || "0");
  const found = data.cards[Number(state.cards)];
  byId("card-list").replaceChildren(...(found ? found.cards.map((card) => cardElement(card, found))
    : [element("p", {}, "No SAE was scored.")]));
}

// ---- the table --------------------------------------------------------------------------------------------------

function sorted(rows) {
  const sign = state.dir === "asc" ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [left, right] = [a[state.sort], b[state.sort]];
    if (!known(left) || !known(right)) return known(right) - known(left);
    return sign * (typeof left === "number" ? left - right : String(left).localeCompare(String(right)));
  });
}

function drawTable() {
  const words = (key) => ["recipe", "kind_title", "sweep", "hook_name"].includes(key);
  const heads = TABLE.map(([key, title]) => {
    const here = state.sort === key;
    const flip = here ? (state.dir === "asc" ? "desc" : "asc") : words(key) ? "asc" : "desc";
    const mark = here ? (state.dir === "asc" ? " ▲" : " ▼") : "";
    return element("th", { scope: "col", class: words(key) ? "" : "number", "aria-sort": here ? `${state.dir}ending` : "none" },
      element("button", { type: "button", onclick: () => change({ sort: key, dir: flip }) }, title + mark));
  });
  const body = sorted(shownRows()).map((row) => element("tr", { class: rowKey(row) === state.row ? "chosen" : "" },
    ...TABLE.map(([key]) => {
      if (key === "recipe")
        return element("td", {}, element("button", { type: "button", onclick: () => choose(rowKey(row)) }, row.recipe));
      return element("td", { class: words(key) ? "" : "number" }, words(key) ? row[key] : withInterval(row, key));
    })));
  byId("table").tHead.replaceChildren(element("tr", {}, ...heads));
  byId("table").tBodies[0].replaceChildren(...body);
}

function csv() {
  const cell = (value) => (known(value) ? (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value)) : "");
  return [data.columns, ...sorted(shownRows()).map((row) => data.columns.map((key) => row[key]))]
    .map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

function download() {
  const link = element("a", { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: "table.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// ---- together ---------------------------------------------------------------------------------------------------

function choose(key) {
  const place = data.cards.findIndex((each) => data.rows.some((row) => rowKey(row) === key && cardsOf(row) === each));
  change(place < 0 ? { row: key } : { row: key, cards: String(place) });
}

function draw() {
  const axes = data.axes.map((axis) => ({ value: axis.key, text: axis.title, group: axis.group }));
  fill(byId("x"), axes, state.x);
  fill(byId("y"), axes, state.y);
  fill(byId("bed"), [{ value: "", text: "all" }, ...beds.map((bed) => ({ value: bed, text: bed }))], state.bed);
  byId("bed-label").hidden = beds.length < 2;
  drawPlot();
  drawDetails();
  drawTable();
  drawCards();
}

readHash();
for (const id of ["x", "y", "bed"]) byId(id).addEventListener("change", (event) => change({ [id]: event.target.value }));
byId("card-sae").addEventListener("change", (event) => change({ cards: event.target.value }));
byId("download").addEventListener("click", download);
draw();
byId("plot").on("plotly_click", (event) => {
  const key = event.points[0].customdata;
  if (key) choose(key);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPlot);
addEventListener("hashchange", () => { readHash(); draw(); });
