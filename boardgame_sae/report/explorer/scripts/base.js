"use strict";
// The explorer: a plot, a table and latent cards over the data in the page. State lives in the URL's hash.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const known = (value) => value !== null && value !== undefined;
const axisOf = Object.fromEntries(data.axes.map((axis) => [axis.key, axis]));
const testbedOf = (row) => `${row.sweep} · ${row.hook_name}`;
const testbeds = [...new Set(data.rows.map(testbedOf))];
const isSae = (row) => !(row.kind in data.kinds);
const rowKey = (row) => `${testbedOf(row)} · ${row.name}`;
const cardsOf = (row) =>
  data.cards.find((of) => of.sweep === row.sweep && of.hook_name === row.hook_name && of.name === row.name);

// ---- state ------------------------------------------------------------------------------------------------------

const firstScore = data.main[0] ?? data.axes[Math.min(1, data.axes.length - 1)].key;
const state = { x: "l0", y: firstScore, testbed: testbeds[0] ?? "", sort: firstScore, dir: "desc", row: "", cards: "" };

function readHash() {
  const written = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(state)) if (written.has(key)) state[key] = written.get(key);
  if (!axisOf[state.x]) state.x = "l0";
  if (!axisOf[state.y]) state.y = firstScore;
  if (!data.table.some((column) => column.key === state.sort)) state.sort = data.table[0].key;
  if (!testbeds.includes(state.testbed)) state.testbed = "";
}

function change(values) {
  Object.assign(state, values);
  history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  draw();
}

function choose(key) {
  const place = data.cards.findIndex((of) => data.rows.some((row) => rowKey(row) === key && cardsOf(row) === of));
  change(place < 0 ? { row: key } : { row: key, cards: String(place) });
}

const shownRows = () => data.rows.filter((row) => !state.testbed || testbedOf(row) === state.testbed);

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
  const made = [...groups].map(([group, list]) => (group ? [element("optgroup", { label: group }, ...list)] : list));
  select.replaceChildren(...made.flat());
}
