// ---- scores that are dropped on the page ------------------------------------------------------------------------

// The columns of a value: itself, the ends of its interval, and the numbers beside it.
function numbersOf(column, { value, interval }, parts) {
  const ends = interval ? { [`${column}_low`]: interval[0], [`${column}_high`]: interval[1] } : {};
  const beside = Object.entries(parts).filter(([, number_]) => typeof number_ === "number").map(([part, number_]) => [`${column}_${part}`, number_]);
  return { [column]: value, ...ends, ...Object.fromEntries(beside) };
}

// All that a score says, as the report's table has it: of properties and groups under names of their own.
function columnsOf(name, score, headline) {
  const groups = score.details.groups ?? {};
  const properties = Object.fromEntries(Object.entries(score.details.by_property ?? {}).filter(([property]) => property !== headline));
  const own = Object.fromEntries(Object.entries(score.parts).filter(([part]) => !(part in groups) && !(part in properties)));
  const columns = [numbersOf(name, score, own)];
  for (const [group, numbers] of Object.entries(groups)) {
    const { value, interval, parts, ...beside } = numbers;
    columns.push(numbersOf(`${name}.${group}`, numbers, beside));
  }
  for (const [property, numbers] of Object.entries(properties)) columns.push(numbersOf(`${name}.${property}`, numbers, numbers.parts));
  return Object.assign({}, ...columns);
}

const truthOf = ({ content = {}, ...testbed }) => JSON.stringify([content.corpus ?? testbed.corpus, content.model ?? testbed.model, testbed.n_games, testbed.positions, testbed.properties]);

function settingOf(sae) {
  const field = data.architectures[sae.architecture]?.sparsity_field;
  return field && known(sae[field]) ? `${field} = ${Number(sae[field])}` : null;
}

function recipeOf(row, sae) {
  if (!row.architecture) return row.name;
  const made = [row.architecture, `${row.n_latents} latents`, row.setting, sae.n_activations ? `${sae.n_activations / 1e6}M activations` : ""].filter(Boolean).join(", ");
  return `${row.name}: ${made}`;
}

function checkScores(written) {
  const { subject, scores } = written ?? {};
  const whole = subject?.name && subject.kind && subject.testbed && scores && typeof scores === "object" &&
    Object.values(scores).every((score) => typeof score?.value === "number" && score.parts && score.details);
  if (!whole) throw new Error("no scores.json: it has no subject, testbed or scores");
}

// Where scores belong: to a testbed of the page, or else to one of their own.
function placeOf(testbed) {
  const here = data.truths.find((one) => JSON.stringify(one.truth) === truthOf(testbed));
  const layer = /^blocks\.(\d+)\./.exec(testbed.hook_name)?.[1];
  return { sweep: here?.sweep ?? `${testbed.game ?? "scores"} (${String(testbed.corpus).slice(0, 8)})`,
    game: here?.game ?? testbed.game ?? null, hook_name: testbed.hook_name, layer: layer === undefined ? null : Number(layer) };
}

// A row of what scores.json says. Throws an Error in words where it is none.
function rowOfScores(written) {
  checkScores(written);
  const { subject, scores } = written, sae = subject.sae ?? {}, values = Object.entries(scores);
  const headline = values.map(([, score]) => score.details.headline).find(known) ?? subject.testbed.properties?.[0];
  const l0 = values.map(([, score]) => score.parts.l0).find(known) ?? subject.l0;
  const row = {
    ...Object.fromEntries(data.columns.map((column) => [column, null])),
    ...Object.fromEntries(data.columns.filter((column) => column in sae).map((column) => [column, sae[column]])),
    ...placeOf(subject.testbed), name: subject.name, kind: subject.kind, kind_title: data.kind_titles[subject.kind] ?? subject.kind,
    n_latents: sae.n_latents ?? (subject.kind === data.sae_kind ? subject.n_latents : null) ?? null, setting: settingOf(sae),
    l0: subject.k ?? (data.kinds[subject.kind]?.has_l0 === false ? null : l0), headline, n_seeds: 1, own: 1,
    ...Object.assign({}, ...values.map(([name, score]) => columnsOf(name, score, headline))),
  };
  for (let copy = 2; rowOf(rowKey(row)); copy++) row.name = `${subject.name} (${copy})`;
  return { ...row, recipe: recipeOf(row, sae) };
}

async function takeFiles(files) {
  const told = [];
  for (const file of files) {
    try {
      rows.push(rowOfScores(JSON.parse(await file.text())));
      told.push(`${file.name}: added`);
    } catch (error) {
      told.push(`${file.name}: ${error.message}`);
    }
  }
  manyTestbeds = severalTestbeds();
  byId("dropped").textContent = told.join("; ");
  draw(Object.keys(state));
}

addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  takeFiles([...event.dataTransfer.files]);
});
byId("files").addEventListener("change", (event) => takeFiles([...event.target.files]));
