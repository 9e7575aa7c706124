// ---- the plot; its titles, its legend and what it says of a point stand around it, never upon it ----------------

const EACH_SEED = ", each seed";
const OWN = ", given here";
const MID_GREY = "#8a8a8a";
const OWN_COLOUR = "#e6001a";
const BUTTONS = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"];
const SIGNS = { circle: "●", square: "■", "triangle-up": "▲", diamond: "◆", "triangle-down": "▼", cross: "✚", x: "✖", star: "★" };
const LINE_SIGNS = { solid: "━━", dash: "╍╍", dot: "┈┈", dashdot: "━┈" };
const MOST_BARS = 300;  // points from which on intervals are left to the table
const darkPaper = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 640px)");

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

// SAEs have their architecture's look; baselines their kind's colour, and its marker unless they are SAEs too.
function colourOf(row, ink) {
  if (!isSae(row)) return onPaper(data.kinds[row.kind]?.colour ?? MID_GREY);
  return row.own ? OWN_COLOUR : data.architectures[row.architecture]?.colour ?? ink;
}
const symbolOf = (row) => (row.own && isSae(row) ? "star" : (data.architectures[row.architecture] ?? data.kinds[row.kind])?.symbol ?? "star");

function plainTicks(values) {
  const ticks = [];
  const low = Math.min(...values) / 2, high = Math.max(...values) * 2;
  const steps = high < 40 * low ? [1, 1.5, 2, 3, 5, 7] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(2)));
  return ticks.filter((tick) => tick >= low && tick <= high);
}

function axisLayout(key, values, colours) {
  const layout = { gridcolor: colours.line, zerolinecolor: colours.line, automargin: true };
  const positive = values.filter((value) => value > 0);
  if (!axisOf[key].log || !positive.length) return layout;
  const ticks = plainTicks(positive);
  const range = [Math.log10(Math.min(...positive) / 1.35), Math.log10(Math.max(...positive) * 1.35)];
  return { ...layout, type: "log", tickvals: ticks, ticktext: ticks.map((tick) => tick.toLocaleString("en")), range };
}

const seriesOf = (row) => (isSae(row) ? row.architecture ?? row.name : row.kind_title) +
  (row.own && isSae(row) ? OWN : known(row.pooled_as) ? EACH_SEED : "");

function pointTrace(name, list, ink) {
  const eachSeed = name.endsWith(EACH_SEED), joined = data.kinds[list[0].kind]?.joined, own = list[0].own && isSae(list[0]);
  const colour = colourOf(list[0], ink);
  if (joined) list.sort((a, b) => a[state.x] - b[state.x]);
  const bars = !eachSeed && list.length <= MOST_BARS && list.every((row) => known(row[`${state.y}_low`]));
  return {
    type: "scatter", mode: joined ? "lines+markers" : "markers", name, line: { color: colour, width: 1 },
    x: list.map((row) => row[state.x]), y: list.map((row) => row[state.y]),
    customdata: list.map(rowKey), hoverinfo: "none",
    marker: { color: colour, symbol: list.map(symbolOf), size: own ? 17 : eachSeed || joined ? 6 : 11,
      opacity: eachSeed ? 0.6 : 1, line: own ? { color: ink, width: 1.2 } : { width: 0 } },
    error_y: bars ? {
      type: "data", symmetric: false, thickness: 1.2, width: 3,
      array: list.map((row) => row[`${state.y}_high`] - row[state.y]),
      arrayminus: list.map((row) => row[state.y] - row[`${state.y}_low`]),
    } : undefined,
  };
}

const levelTrace = (name, y, ends, line, key) => ({ type: "scatter", mode: "lines", name, x: ends, y: [y, y], line,
  customdata: [key, key], hoverinfo: "none" });

// What has no number on the x axis is a line across the plot, and so is the level of chance.
function levels(list, ends, ink) {
  const oneTestbed = new Set(list.map(testbedOf)).size < 2;
  const made = list.filter((row) => !known(row[state.x]) && known(row[state.y])).map((row) => {
    const name = row.recipe + (oneTestbed ? "" : ` (${testbedOf(row)})`);
    return levelTrace(name, row[state.y], ends, { color: colourOf(row, ink), dash: data.kinds[row.kind]?.dash ?? "dash", width: 1.3 }, rowKey(row));
  });
  const chance = axisOf[state.y].chance;
  const row = chance && list.find((one) => known(one[chance.key]));
  if (row && oneTestbed) made.push(levelTrace(chance.title, row[chance.key], ends, { color: MID_GREY, dash: "dashdot", width: 1.3 }, ""));
  return made;
}

function traces(list, ink) {
  const groups = new Map();
  const whole = list.filter((row) => known(row[state.x]) && known(row[state.y]));
  for (const row of whole) groups.set(seriesOf(row), [...(groups.get(seriesOf(row)) ?? []), row]);
  const made = [...groups].sort(([a], [b]) => a.endsWith(OWN) - b.endsWith(OWN)).map(([name, of]) => pointTrace(name, of, ink));
  const log = axisOf[state.x].log;
  const xs = whole.map((row) => row[state.x]).filter((x) => !log || x > 0);
  if (!xs.length) return made;
  const ends = log ? [Math.min(...xs) / 1.35, Math.max(...xs) * 1.35] : [Math.min(...xs), Math.max(...xs)];
  return [...made, ...levels(list, ends, ink)];
}

function legendEntry(trace) {
  const hidden = chosenIn("hidden").includes(trace.name);
  const sign = trace.marker ? SIGNS[trace.marker.symbol[0]] ?? "●" : LINE_SIGNS[trace.line.dash] ?? "━━";
  return element("button", { type: "button", class: "key", "aria-pressed": String(!hidden), title: hidden ? "show" : "hide",
    onclick: () => change({ hidden: toggled("hidden", trace.name) }) },
    element("span", { style: `color:${trace.marker?.color ?? trace.line.color}`, "aria-hidden": "true" }, sign), ` ${trace.name}`);
}

const axisTitle = (key) => axisOf[key].title + (axisOf[key].better ? ` (${axisOf[key].better} is better)` : "");

function ring(list, key, colour, size) {
  const row = list.find((one) => rowKey(one) === key && known(one[state.x]) && known(one[state.y]));
  return row ? [{ type: "scatter", mode: "markers", x: [row[state.x]], y: [row[state.y]], hoverinfo: "skip", name: "",
    marker: { size, symbol: "circle-open", color: colour, line: { width: 2 } } }] : [];
}

function drawPlot(list) {
  const colours = themeColours(), hidden = chosenIn("hidden");
  const all = traces(list, colours.ink);
  byId("legend").replaceChildren(...all.map(legendEntry));
  const drawn = [...all.filter((trace) => !hidden.includes(trace.name)),
    ...ring(list, state.sae, colours.ink, 24), ...ring(list, state.beside, MID_GREY, 24)];
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    font: { color: colours.ink, family: "system-ui, sans-serif", size: narrow.matches ? 11 : 12 },
    margin: narrow.matches ? { l: 38, r: 6, t: 8, b: 30 } : { l: 50, r: 12, t: 12, b: 34 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: MID_GREY, activecolor: colours.ink },
    xaxis: axisLayout(state.x, list.map((row) => row[state.x]).filter(known), colours),
    yaxis: axisLayout(state.y, list.map((row) => row[state.y]).filter(known), colours),
  };
  Plotly.react("plot", drawn, layout, { displayModeBar: narrow.matches ? false : "hover", displaylogo: false, responsive: true, modeBarButtons: [BUTTONS] });
  byId("y-title").textContent = `↑ ${axisTitle(state.y)}`;
  byId("x-title").textContent = `${axisTitle(state.x)} →`;
  byId("meaning").textContent = [...new Set([state.y, state.x])].map((key) => `${axisOf[key].title}: ${axisOf[key].meaning}.`).join(" ");
}

function readOut(row) {
  const numbers = row ? [...new Set([state.x, state.y])].map((key) => `${axisOf[key].title} ${withInterval(row, key)}`).join(" · ") : "";
  byId("readout").replaceChildren(...(row ? [element("b", {}, titleOf(row)), ` ${row.kind_title} · ${numbers}`]
    : ["Point at something in the plot to read it here; click it to see its details and its latents."]));
}

function listenToPlot() {
  byId("plot").on("plotly_hover", (event) => readOut(rowOf(event.points[0].customdata) ?? rowOf(state.sae)));
  byId("plot").on("plotly_unhover", () => readOut(rowOf(state.sae)));
  byId("plot").on("plotly_click", (event) => event.points[0].customdata && change({ sae: event.points[0].customdata, latent: "" }));
}
