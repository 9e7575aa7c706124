// ---- the table --------------------------------------------------------------------------------------------------

const AT_ONCE = 100;  // lines that are made at once
let nLines = AT_ONCE;

const tableRows = () => sortedBy(shownRows(), state.sort, state.dir);

function bodyCell(row, { key, words }) {
  if (key === "recipe") return element("td", {}, element("a", { href: saeAddress(row) }, row.recipe));
  return element("td", { class: words ? "" : "number" }, words ? number(row[key]) : withInterval(row, key));
}

function drawTable() {
  const all = tableRows();
  const body = all.slice(0, nLines).map((row) => element("tr", { class: rowKey(row) === state.sae ? "chosen" : "" },
    ...data.table.map((column) => bodyCell(row, column))));
  byId("table").tHead.replaceChildren(element("tr", {}, ...data.table.map((column) => headCell(column, "sort", "dir"))));
  byId("table").tBodies[0].replaceChildren(...body);
  byId("more").hidden = all.length <= nLines;
  byId("more").textContent = `Show more (${Math.min(nLines, all.length)} of ${all.length} shown)`;
}

byId("more").addEventListener("click", () => { nLines += 5 * AT_ONCE; drawTable(); });
byId("download").addEventListener("click", () => saveAs("table.csv", csvOf(data.columns, tableRows())));
