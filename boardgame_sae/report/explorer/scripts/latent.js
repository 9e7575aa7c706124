// ---- one latent: how its activations spread, a threshold to move, its moves and its boards ----------------------

const SVG = "http://www.w3.org/2000/svg";
const BARS = { width: 560, height: 130 };

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const sumFrom = (counts, from) => counts.slice(from).reduce((sum, count) => sum + count, 0);

// What the latent is worth as a classifier of its class where it must exceed `step` bins of its largest activation.
function classifier(boards, place, step) {
  const hits = sumFrom(boards.true[place], step), misses = sumFrom(boards.false[place], step);
  const precision = hits + misses ? hits / (hits + misses) : 0, recall = boards.positives[place] ? hits / boards.positives[place] : 0;
  return { precision, recall, f1: precision + recall ? (2 * precision * recall) / (precision + recall) : 0, on: (hits + misses) / Math.max(1, boards.known[place]) };
}

function histogram(boards, place) {
  const bins = Array.from({ length: data.n_bins }, (_, bin) => [boards.true[place][bin] ?? 0, boards.false[place][bin] ?? 0]);
  const height = (count) => Math.sqrt(count), top = Math.max(1, ...bins.map(([right, wrong]) => height(right + wrong)));
  const width = BARS.width / data.n_bins, scale = BARS.height / top;
  const bars = bins.flatMap(([right, wrong], bin) => {
    const all = height(right + wrong) * scale, own = all * (right / Math.max(1, right + wrong));
    const bar = (y, size, name) => svg("rect", { x: bin * width + 0.5, y, width: width - 1, height: size, class: name });
    return [bar(BARS.height - own, own, "right"), bar(BARS.height - all, all - own, "wrong")];
  });
  return svg("svg", { viewBox: `0 0 ${BARS.width} ${BARS.height}`, class: "histogram", role: "img", preserveAspectRatio: "none",
    "aria-label": "activations on test by size; root scale" }, ...bars, svg("line", { id: "threshold-line", y1: 0, y2: BARS.height }));
}

function thresholdPanel(boards, place, chosen) {
  const told = element("output", { id: "threshold-numbers" });
  const slider = element("input", { type: "range", id: "threshold", min: 0, max: data.n_bins - 1, step: 1, value: chosen, "aria-label": "threshold" });
  const picture = histogram(boards, place);
  const follow = () => {
    const step = Number(slider.value), { precision, recall, f1, on } = classifier(boards, place, step), x = (step * BARS.width) / data.n_bins;
    for (const end of ["x1", "x2"]) picture.querySelector("line").setAttribute(end, x);
    told.textContent = `threshold ${(step / data.n_bins).toFixed(2)} of its largest activation: precision ${number(precision)} · recall ${number(recall)} · F1 ${number(f1)} · on at ${percent(on)} of positions`;
  };
  slider.addEventListener("input", follow);
  follow();
  return element("div", { class: "threshold" }, picture, slider, told, element("p", { class: "soft" },
    element("span", { class: "right sign" }), " its class is true ", element("span", { class: "wrong sign" }), " it is not; heights are roots of counts of test positions"));
}

// Pictures are the games' own, as images, so that nothing inside one can be confused with another.
const drawing = (boards, parts, alt) =>
  element("img", { src: `data:image/svg+xml,${encodeURIComponent(parts.map((part) => boards.picture_parts[part]).join(""))}`, alt });

function boardFigure(boards, [position, activation]) {
  const board = boards.positions[position];
  return element("figure", { class: "top", title: board.text }, drawing(boards, board.picture, `after ${board.text}`), element("figcaption", {}, `${number(activation)} after ply ${board.ply}`, element("br"),
    `${board.first_to_move ? "first" : "second"} player to move`, element("span", { class: "moves" }, board.text)));
}

const meanFigure = (boards, { class: name, picture }) => element("figure", { class: "mean" }, drawing(boards, picture, `${name}: differences by square`),
  element("figcaption", {}, `${name}: more (+) or less (−) often`));

const moveList = (title, moves) => element("p", {}, `${title}: `, ...moves.flatMap(([move, by], place) =>
  [place ? " · " : "", element("code", {}, move.trim() || "␣"), ` ${by > 0 ? "+" : "−"}${number(Math.abs(by))}`]));

function movesPart(boards, place) {
  const kinds = ["promotes", "suppresses"].filter((kind) => boards[kind][place].length);
  const about = "what it adds to the log-probability of a move, in nats: the difference to setting it to zero, over the games where it is strongest";
  return [...kinds.map((kind) => moveList(kind, boards[kind][place])), ...(kinds.length ? [element("p", { class: "soft" }, about)] : [])];
}

function detailParts(one, boards) {
  const { place } = one;
  return [thresholdPanel(boards, place, Math.round(one.threshold * data.n_bins)),
    ...movesPart(boards, place),
    element("h4", {}, "Where it is strongest"), element("div", { class: "boards" }, ...boards.boards[place].map((board) => boardFigure(boards, board))),
    ...(boards.mean[place].length ? [element("h4", {}, "What these boards have in common"), element("div", { class: "boards" }, ...boards.mean[place].map((mean) => meanFigure(boards, mean)))] : [])];
}

function latentHead(one) {
  const all = loaded("latents", one.row.file).latent;
  const step = (by) => element("a", { class: "button", href: saeAddress(one.row, all[(one.place + by + all.length) % all.length]) }, by < 0 ? "← previous" : "next →");
  return [element("h3", {}, `latent ${one.latent}: “${one.label}”`, element("a", { class: "address", href: saeAddress(one.row, one.latent), title: "address of this latent" }, " #")),
    element("p", { class: "soft" }, `of ${titleOf(one.row)} · property ${one.property.replaceAll("_", " ")} · F1 ${number(one.f1)} · precision ${number(one.precision)} · recall ${number(one.recall)} at threshold ${number(one.threshold)} · above zero at ${percent(one.density)} of positions · at least 95% precise, at some threshold on train, for ${one.n_precise} ${one.n_precise === 1 ? "class" : "classes"}`),
    element("p", {}, step(-1), " ", step(1))];
}

function drawLatent() {
  const row = rowOf(state.sae), panel = byId("latent");
  panel.hidden = !state.latent || !known(row?.file);
  if (panel.hidden) return panel.replaceChildren();
  const wanted = state.latent;
  return whenLoaded("latents", [row.file], () => {
    const one = latentsOf(row, wanted)[0];
    if (!one) return panel.replaceChildren(element("p", {}, `Latent ${wanted} stands for no class: it is never on where the truth is known, or there is no such latent.`));
    panel.replaceChildren(...latentHead(one));
    if (!row.boards) return panel.append(element("p", { class: "soft" }, "This SAE was not run again for the page, so it has no histogram, boards and moves here. `boardgame-sae report ... --n-detailed 100` runs up to 100 SAEs per testbed again; `boardgame-sae latent` shows any latent of any SAE."));
    return whenLoaded("boards", [row.file], (there) => state.latent === wanted && rowOf(state.sae) === row &&
      panel.append(...(there ? detailParts(one, loaded("boards", row.file)) : [element("p", {}, `${pathOf("boards", row.file)} is not beside this page.`)])));
  });
}
