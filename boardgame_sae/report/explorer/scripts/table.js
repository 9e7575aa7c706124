// ---- the table --------------------------------------------------------------------------------------------------

function sorted(rows) {
  const sign = state.dir === "asc" ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [left, right] = [a[state.sort], b[state.sort]];
    if (!known(left) || !known(right)) return known(right) - known(left);
    return sign * (typeof left === "number" ? left - right : String(left).localeCompare(String(right)));
  });
}

function headCell({ key, title, words }) {
  const here = state.sort === key;
  const next = here ? (state.dir === "asc" ? "desc" : "asc") : words ? "asc" : "desc";
  const mark = here ? (state.dir === "asc" ? " ▲" : " ▼") : "";
  return element("th", { scope: "col", class: words ? "" : "number", "aria-sort": here ? `${state.dir}ending` : "none" },
    element("button", { type: "button", onclick: () => change({ sort: key, dir: next }) }, title + mark));
}

function bodyCell(row, { key, words }) {
  if (key === "recipe")
    return element("td", {}, element("button", { type: "button", onclick: () => choose(rowKey(row)) }, row.recipe));
  return element("td", { class: words ? "" : "number" }, words ? row[key] : withInterval(row, key));
}

function drawTable() {
  const body = sorted(shownRows()).map((row) => element("tr", { class: rowKey(row) === state.row ? "chosen" : "" },
    ...data.table.map((column) => bodyCell(row, column))));
  byId("table").tHead.replaceChildren(element("tr", {}, ...data.table.map(headCell)));
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
