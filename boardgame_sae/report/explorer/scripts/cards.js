// ---- one SAE, and latents with their boards ---------------------------------------------------------------------

// Pictures are the games' own, as images, so that nothing inside one can be confused with another.
function boardFigure(board, alt, caption, attributes) {
  const svg = board.picture.map((part) => data.picture_parts[part]).join("");
  const image = element("img", { src: `data:image/svg+xml,${encodeURIComponent(svg)}`, alt });
  return element("figure", attributes, image, element("figcaption", {}, ...caption));
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function cardElement(card) {
  const about = card.label.endsWith(card.property) ? "" : ` (${card.property.replaceAll("_", " ")})`;
  const stats = `F1 ${number(card.f1)} (always on: ${number(card.chance)}) · precision ${number(card.precision)} · ` +
    `recall ${number(card.recall)} · threshold ${card.threshold.toFixed(1)} of its largest activation · above the threshold at ` +
    `${percent(card.on)} of positions, above zero at ${percent(card.density)} · the class is true at ${percent(card.base)} · ` +
    `at some threshold at least 95% precise on train for ${card.n_precise} ${card.n_precise === 1 ? "class" : "classes"}`;
  const means = card.mean.map((mean) => boardFigure(mean, `${mean.class}, difference by square`,
    [`${mean.class}: more (+) or less (−) often`], { class: "mean" }));
  const boards = card.boards.map((board) => boardFigure(board, `after ${board.text}`,
    [`${number(board.activation)} after ply ${board.ply}`, element("br"), `${board.first_to_move ? "first" : "second"} player to move`,
      element("span", { class: "moves" }, board.text)], { class: "top", title: board.text }));
  return element("article", { class: "card" },
    element("h4", {}, `latent ${card.latent}: “${card.label.replaceAll("_", " ")}”` + about),
    element("p", { class: "soft" }, stats),
    element("div", { class: "boards" }, ...means), element("div", { class: "boards" }, ...boards));
}

const bestName = () => (axisOf[firstScore]?.title ?? "").toLowerCase();

function drawDetails() {
  const row = data.rows.find((one) => rowKey(one) === state.row);
  const panel = byId("details");
  if (!row) return panel.replaceChildren(element("p", { class: "soft" }, "Click a point, or a name in the table."));
  const main = data.axes.filter((axis) => axis.group === "scores" && known(row[axis.key]));
  const rest = data.axes.filter((axis) => axis.group !== "scores" && known(row[axis.key]));
  const lines = (axes) => element("table", {}, element("tbody", {}, ...axes.map((axis) =>
    element("tr", { title: axis.meaning }, element("td", {}, axis.title),
      element("td", { class: "number" }, withInterval(row, axis.key))))));
  const ofSae = cardsOf(row);
  const none = !isSae(row) ? "" : row.n_seeds > 1 ? "The mean of its seeds; latent cards are made for single SAEs."
    : `Latent cards are made for the SAEs of best ${bestName()} only.`;
  return panel.replaceChildren(
    element("h3", {}, row.recipe),
    element("p", { class: "soft" }, `${row.kind_title} · ${testbedOf(row)} · ${row.name}`),
    lines(main),
    element("details", {}, element("summary", {}, `all ${rest.length} other numbers`), lines(rest)),
    ...(ofSae ? [element("h3", {}, "Its best latents"), ...ofSae.cards.slice(0, 3).map(cardElement),
      element("p", { class: "soft" }, `All ${ofSae.cards.length} stand at the end of the page.`)]
      : [element("p", { class: "soft" }, none)]),
  );
}

function drawCards() {
  const options = data.cards.map((of, place) => {
    const row = data.rows.find((one) => cardsOf(one) === of);
    const name = row ? `${row.recipe}, ${bestName()} ${number(row[firstScore])}` : of.name;
    return { value: String(place), text: testbeds.length > 1 ? `${name} — ${of.sweep} · ${of.hook_name}` : name };
  });
  if (!data.cards[Number(state.cards)]) state.cards = "0";
  fill(byId("card-sae"), options, state.cards || "0");
  const shown = data.cards[Number(state.cards)];
  byId("card-list").replaceChildren(...(shown ? shown.cards.map(cardElement) : [element("p", {}, "No SAE was scored.")]));
}
