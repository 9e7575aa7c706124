// ---- the plot ---------------------------------------------------------------------------------------------------

const EACH_SEED = ", each seed";
const MID_GREY = "#8a8a8a";
const BUTTONS = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"];
const darkPaper = matchMedia("(prefers-color-scheme: dark)");

function themeColours() {
  const style = getComputedStyle(document.documentElement);
  return { ink: style.getPropertyValue("--ink").trim(), line: style.getPropertyValue("--line").trim() };
}

// A colour as it is drawn on the page's paper: on dark paper light greys stand for dark ones.
function onPaper(colour) {
  const [red, green, blue] = colour.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  const turned = darkPaper.matches && red === green && green === blue;
  return turned ? `rgb(${255 - red},${255 - green},${255 - blue})` : colour;
}

// SAEs have their architecture's look; baselines have their kind's colour, and its marker unless they are SAEs too.
const colourOf = (row, ink) =>
  isSae(row) ? data.architectures[row.architecture]?.colour ?? ink : onPaper(data.kinds[row.kind].colour);
const symbolOf = (row) => (data.architectures[row.architecture] ?? data.kinds[row.kind])?.symbol ?? "star";

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
  const arrow = axis.better ? ` (${axis.better} is better)` : "";
  const layout = { title: { text: axis.title + arrow }, gridcolor: colours.line, zerolinecolor: colours.line };
  const positive = values.filter((value) => value > 0);
  if (key !== "l0" || !positive.length) return layout;
  const ticks = plainTicks(positive);
  const range = [Math.log10(Math.min(...positive) / 1.35), Math.log10(Math.max(...positive) * 1.35)];
  return { ...layout, type: "log", tickvals: ticks, ticktext: ticks.map(String), range };
}

function hover(row) {
  const lines = [`<b>${escaped(row.recipe)}</b>`, escaped(row.kind_title)];
  if (testbeds.length > 1) lines.push(escaped(testbedOf(row)));
  for (const key of new Set([state.x, state.y])) lines.push(`${escaped(axisOf[key].title)}: ${withInterval(row, key)}`);
  return lines.join("<br>");
}

function pointTrace(name, rows, ink) {
  const eachSeed = name.endsWith(EACH_SEED), joined = data.kinds[rows[0].kind]?.joined;
  const colour = colourOf(rows[0], ink);
  if (joined) rows.sort((a, b) => a[state.x] - b[state.x]);
  const bars = !eachSeed && rows.every((row) => known(row[`${state.y}_low`]));
  return {
    type: "scatter", mode: joined ? "lines+markers" : "markers", name, line: { color: colour, width: 1 },
    x: rows.map((row) => row[state.x]), y: rows.map((row) => row[state.y]),
    customdata: rows.map((row) => rowKey(row)), text: rows.map(hover), hovertemplate: "%{text}<extra></extra>",
    marker: { color: colour, symbol: rows.map(symbolOf), size: eachSeed || joined ? 6 : 11, opacity: eachSeed ? 0.6 : 1 },
    error_y: bars ? {
      type: "data", symmetric: false, thickness: 1.2, width: 3,
      array: rows.map((row) => row[`${state.y}_high`] - row[state.y]),
      arrayminus: rows.map((row) => row[state.y] - row[`${state.y}_low`]),
    } : undefined,
  };
}

function levelTrace(name, y, ends, line, text, key) {
  return { type: "scatter", mode: "lines", name, x: ends, y: [y, y], line, hovertemplate: `${text}<extra></extra>`,
    customdata: [key, key] };
}

// What has no number on the x axis is a line across the plot, and so is the level of chance.
function levels(rows, ends, ink) {
  const made = rows.filter((row) => !known(row[state.x]) && known(row[state.y])).map((row) => {
    const name = row.recipe + (state.testbed || testbeds.length < 2 ? "" : ` (${testbedOf(row)})`);
    const line = { color: colourOf(row, ink), dash: data.kinds[row.kind]?.dash ?? "dash", width: 1.3 };
    return levelTrace(name, row[state.y], ends, line, hover(row), rowKey(row));
  });
  const chance = axisOf[state.y].chance;
  const row = chance && rows.find((row) => known(row[chance.key]));
  if (row && (state.testbed || testbeds.length < 2)) {
    const line = { color: MID_GREY, dash: "dashdot", width: 1.3 };
    made.push(levelTrace(chance.title, row[chance.key], ends, line, escaped(chance.title), ""));
  }
  return made;
}

function traces(rows, ink) {
  const groups = new Map();
  const whole = rows.filter((row) => known(row[state.x]) && known(row[state.y]));
  for (const row of whole) {
    const name = (isSae(row) ? row.architecture ?? row.recipe : row.kind_title) + (known(row.pooled_as) ? EACH_SEED : "");
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  const made = [...groups].map(([name, list]) => pointTrace(name, list, ink));
  const xs = whole.map((row) => row[state.x]).filter((x) => state.x !== "l0" || x > 0);
  if (!xs.length) return made;
  const ends = state.x === "l0" ? [Math.min(...xs) / 1.35, Math.max(...xs) * 1.35] : [Math.min(...xs), Math.max(...xs)];
  return [...made, ...levels(rows, ends, ink)];
}

function drawPlot() {
  const colours = themeColours();
  const rows = shownRows();
  const drawn = traces(rows, colours.ink);
  const chosen = rows.find((row) => rowKey(row) === state.row && known(row[state.x]) && known(row[state.y]));
  if (chosen)
    drawn.push({ type: "scatter", mode: "markers", x: [chosen[state.x]], y: [chosen[state.y]], hoverinfo: "skip",
      showlegend: false, marker: { size: 22, symbol: "circle-open", color: colours.ink, line: { width: 2 } } });
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.ink, family: "system-ui, sans-serif" },
    margin: { l: 70, r: 20, t: 20, b: 60 }, hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: MID_GREY, activecolor: colours.ink },
    legend: { orientation: "h", y: -0.18, x: 0 },
    xaxis: axisLayout(state.x, rows.map((row) => row[state.x]).filter(known), colours),
    yaxis: axisLayout(state.y, rows.map((row) => row[state.y]).filter(known), colours),
  };
  Plotly.react("plot", drawn, layout, { displayModeBar: "hover", displaylogo: false, responsive: true, modeBarButtons: [BUTTONS] });
  byId("meaning").textContent =
    [...new Set([state.y, state.x])].map((key) => `${axisOf[key].title}: ${axisOf[key].meaning}.`).join(" ");
}
