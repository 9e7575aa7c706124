"use strict";
// ---- data and small helpers: what every other script uses ------------------------------------------------------

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const known = (value) => value !== null && value !== undefined;
const axisOf = Object.fromEntries(data.axes.map((axis) => [axis.key, axis]));
const firstScore = data.main[0] ?? data.axes[Math.min(1, data.axes.length - 1)].key;

// The data hold columns; the page works on rows. Scores that are dropped on the page are added to them.
const rows = Array.from({ length: data.n_rows }, (_, place) =>
  Object.fromEntries(data.columns.map((column) => [column, data.values[column][place]])));
const testbedOf = (row) => `${row.sweep} · ${row.hook_name}`;
const rowKey = (row) => `${testbedOf(row)} · ${row.name}`;
const rowOf = (key) => rows.find((row) => rowKey(row) === key);
const isSae = (row) => row.kind === data.sae_kind;
const severalTestbeds = () => new Set(rows.map(testbedOf)).size > 1;
let manyTestbeds = severalTestbeds();
const titleOf = (row) => (manyTestbeds ? `${row.recipe} — ${testbedOf(row)}` : row.recipe);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter(known));
  return made;
}

function number(value) {
  if (!known(value)) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) > 1) return String(value);
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3);
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function withInterval(row, key) {
  const low = row[`${key}_low`];
  return number(row[key]) + (known(low) ? ` [${number(low)},\u00a0${number(row[`${key}_high`])}]` : "");
}

// Ascending or descending, what is not known last in either case.
function sortedBy(list, key, direction) {
  const sign = direction === "asc" ? 1 : -1;
  return [...list].sort((a, b) => {
    const [left, right] = [a[key], b[key]];
    if (!known(left) || !known(right)) return known(right) - known(left);
    return sign * (typeof left === "number" ? left - right : String(left).localeCompare(String(right)));
  });
}

// The heading of a column that sorts by it: `sort` and `dir` are the names that the page's state has for these.
function headCell({ key, title, words }, sort, dir) {
  const here = state[sort] === key;
  const next = here ? (state[dir] === "asc" ? "desc" : "asc") : words ? "asc" : "desc";
  const mark = here ? (state[dir] === "asc" ? " ▲" : " ▼") : "";
  return element("th", { scope: "col", class: words ? "" : "number", "aria-sort": here ? `${state[dir]}ending` : "none" },
    element("button", { type: "button", onclick: () => change({ [sort]: key, [dir]: next }) }, title + mark));
}

function saveAs(name, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

const csvCell = (value) =>
  !known(value) ? "" : /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
const csvOf = (keys, list) => [keys, ...list.map((row) => keys.map((key) => row[key]))]
  .map((line) => line.map(csvCell).join(",")).join("\n") + "\n";
