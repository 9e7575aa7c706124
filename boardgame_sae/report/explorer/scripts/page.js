// ---- together ---------------------------------------------------------------------------------------------------

function draw() {
  const axes = data.axes.map((axis) => ({ value: axis.key, text: axis.title, group: axis.group }));
  fill(byId("x"), axes, state.x);
  fill(byId("y"), axes, state.y);
  const all = { value: "", text: "all" };
  fill(byId("testbed"), [all, ...testbeds.map((name) => ({ value: name, text: name }))], state.testbed);
  byId("testbed-label").hidden = testbeds.length < 2;
  drawPlot();
  drawDetails();
  drawTable();
  drawCards();
}

readHash();
for (const id of ["x", "y", "testbed"]) byId(id).addEventListener("change", (event) => change({ [id]: event.target.value }));
byId("card-sae").addEventListener("change", (event) => change({ cards: event.target.value }));
byId("download").addEventListener("click", download);
draw();
byId("plot").on("plotly_click", (event) => {
  const key = event.points[0].customdata;
  if (key) choose(key);
});
darkPaper.addEventListener("change", drawPlot);
addEventListener("hashchange", () => { readHash(); draw(); });
