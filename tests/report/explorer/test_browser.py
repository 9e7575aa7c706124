"""The page in headless Chromium, wide and on a phone: every control, no request, no error, quick with 1,000 results.

Needs playwright (`pip install playwright`) and a Chromium on the path.
"""

import csv
import io
import json
import shutil
import time
from itertools import pairwise
from pathlib import Path

import pytest

from boardgame_sae.metrics.results import SCORES_FILE
from boardgame_sae.report.explorer.page import PAGE_FILE, page
from boardgame_sae.report.rows import collect
from boardgame_sae.report.run import make_report

pytestmark = pytest.mark.browser
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PATIENCE = 120_000
"""Milliseconds to wait for anything: a busy machine is slow."""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    return make_report(sweep, out=tmp_path_factory.mktemp("browser") / "r", device="cpu")


@pytest.fixture(params=[WIDE, PHONE], ids=["1440", "390"])
def tab(browser, report, request):
    """The page, open; afterwards nothing was asked of a network and nothing went wrong."""
    opened = browser.new_page(viewport=request.param, accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    wrong, asked = [], []
    opened.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request_: asked.append(request_.url))
    opened.goto((report / PAGE_FILE).as_uri())
    yield opened
    wide, shown = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    opened.close()
    assert wrong == [] and wide <= shown
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked), asked


def names(tab, table="table"):
    return tab.locator(f"#{table} tbody tr td:first-child").all_inner_texts()


def first_sae(tab, place=0):
    """The address of an SAE that has boards."""
    return tab.evaluate(f"rowKey(rows.filter((row) => row.boards)[{place}])")


def choose(tab, key):
    tab.evaluate("(key) => change({ sae: key })", key)


def test_axes_are_chosen_by_search_and_keys_and_swapped(tab):
    tab.locator("#y").fill("recon high")
    options = tab.locator("#y-list [role=option]")
    assert 0 < options.count() < 12 and "Board reconstruction, high level" in options.all_inner_texts()
    tab.keyboard.press("ArrowDown"), tab.keyboard.press("ArrowUp"), tab.keyboard.press("Enter")
    assert tab.locator("#y-title").inner_text() == f"↑ {options.nth(0).text_content()}"
    tab.locator("#x").click()
    assert {"Scores", "Coverage", "Settings"} <= set(tab.locator("#x-list .group").all_inner_texts())
    tab.locator("#x-list [role=option]", has_text="n latents").click()
    assert "n latents" in tab.locator("#x-title").inner_text()
    tab.locator("#swap").click()
    assert tab.evaluate("[state.x.startsWith('board'), state.y]") == [True, "n_latents"]
    tab.locator("#x").fill("no such axis")
    assert "nothing of that name" in tab.locator("#x-list").inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator("#x-list").is_hidden()


def test_filters_hold_for_plot_and_table_and_stand_in_the_address(tab):
    n = tab.evaluate("rows.length")
    tab.locator(".chip[data-facet=architecture][data-value=relu]").click()
    kept = tab.evaluate("shownRows().map((row) => [row.architecture, row.kind])")
    assert {of for of, kind in kept if kind == "sae"} == {"relu"} and len(kept) < n
    assert {kind for of, kind in kept if of is None} >= {"probe", "neurons"}, "what SAEs are compared with stays"
    assert len(names(tab)) == len(kept) and tab.locator("#count").inner_text() == f"{len(kept)} of {n} results"
    tab.reload()
    assert tab.evaluate("shownRows().length") == len(kept)
    tab.locator("#clear").click()
    tab.locator("#text").fill("topk k = 6")
    assert names(tab) and all("topk" in name and "k = 6" in name for name in names(tab))
    tab.locator("#text").fill("")
    tab.locator("#l0max").fill("3")
    assert all(l0 is None or l0 <= 3 for l0 in tab.evaluate("shownRows().map((row) => row.l0)"))
    tab.locator("#clear").click()
    assert tab.evaluate("[shownRows().length, location.hash]") == [n, ""]


def test_the_legend_hides_what_is_clicked_and_the_readout_reads_points(tab):
    shown = tab.evaluate("document.getElementById('plot').data.length")
    tab.locator("#legend .key", has_text="linear probe of").first.click()
    assert tab.evaluate("document.getElementById('plot').data.length") == shown - 1
    key = first_sae(tab)
    emit = "([event, key]) => document.getElementById('plot').emit(event, { points: [{ customdata: key }] })"
    tab.evaluate(emit, ["plotly_hover", key])
    assert "Coverage 0." in tab.locator("#readout").inner_text()
    tab.evaluate(
        "(key) => document.getElementById('plot').emit('plotly_click', { points: [{ customdata: key }] })", key
    )
    assert tab.evaluate("state.sae") == key and tab.locator("#details h3").is_visible()
    boxes = [tab.locator(f"#{part}").bounding_box() for part in ("readout", "y-title", "plot", "x-title", "legend")]
    for above, below in pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"] + 1, "nothing stands upon anything"


def test_the_table_sorts_and_downloads_what_is_shown(tab, sweep):
    tab.locator("#table th button", has_text="L0").click()
    values = tab.evaluate("tableRows().map((row) => row.l0)")
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=True) and values[len(known) :] == [None] * (len(values) - len(known))
    tab.locator("#table th button", has_text="L0").click()
    assert tab.evaluate("tableRows()[0].l0") == min(known)
    tab.locator("#text").fill("topk")
    with tab.expect_download() as waiting:
        tab.locator("#download").click()
    lines = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))
    by_name = {row["name"]: row for row in collect([sweep])}
    assert {line["name"] for line in lines} == {name for name, row in by_name.items() if row["architecture"] == "topk"}
    assert all(float(line["coverage"]) == by_name[line["name"]]["coverage"] for line in lines)


def test_latents_are_found_by_square_property_and_number_in_one_or_all(tab):
    choose(tab, first_sae(tab))
    tab.wait_for_selector("#latent-table tbody tr")
    one = tab.locator("#latent-count").inner_text()
    label = tab.locator("#latent-table tbody tr td:nth-child(2)").first.inner_text()
    tab.locator("#q").fill(label.split()[0])
    found = tab.locator("#latent-table tbody tr td:nth-child(2)").all_inner_texts()
    assert found and all(label.split()[0] in of.split() for of in found)
    tab.locator("#all").check()
    tab.wait_for_function("document.getElementById('latent-count').textContent.includes('4 SAEs')")
    assert len(set(names(tab, "latent-table"))) > 1
    tab.locator("#q").fill("mine")
    assert int(tab.locator("#latent-count").inner_text().split()[0]) > 4
    latent = tab.evaluate("foundLatents()[0].latent")
    tab.locator("#q").fill(str(latent))
    assert {int(text) for text in tab.locator("#latent-table tbody tr td:nth-child(2)").all_inner_texts()} == {latent}
    tab.locator("#q").fill("")
    tab.locator("#latent-table th button", has_text="precision").click()
    values = tab.evaluate("foundLatents().map((one) => one.precision)")
    assert values == sorted(values, reverse=True)
    with tab.expect_download() as waiting:
        tab.locator("#latent-download").click()
    assert len(Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()) == len(values) + 1
    tab.locator("#all").uncheck()
    assert tab.locator("#latent-count").inner_text() == one


def test_a_latent_has_an_address_a_threshold_to_move_and_boards(tab):
    choose(tab, first_sae(tab))
    tab.locator("#latent-table tbody a").first.click()
    tab.wait_for_selector("#threshold")
    told = tab.locator("#threshold-numbers").inner_text()
    one = tab.evaluate("latentsOf(rowOf(state.sae), state.latent)[0]")
    assert f"precision {one['precision']:.3f} · recall {one['recall']:.3f} · F1 {one['f1']:.3f}" in told
    tab.locator("#threshold").fill("0")
    at_zero = tab.locator("#threshold-numbers").inner_text()
    tab.locator("#threshold").fill("49")
    assert len({told, at_zero, tab.locator("#threshold-numbers").inner_text()}) == 3
    assert tab.locator("#latent .histogram rect").count() == 100
    images = tab.locator("#latent .boards img")
    assert images.count() > 0 and images.evaluate_all("all => all.every((one) => one.naturalWidth > 0)")
    assert tab.locator("#latent .mean img").count() in (1, 2)
    assert "promotes: " in tab.locator("#latent").inner_text()
    address = tab.url
    other = tab.context.browser.new_page()
    other.goto(address, timeout=PATIENCE)
    other.wait_for_selector("#threshold", timeout=PATIENCE)
    assert other.locator("#latent h3").inner_text() == tab.locator("#latent h3").inner_text()
    other.close()


def test_two_saes_stand_side_by_side(tab):
    choose(tab, first_sae(tab))
    tab.locator("#beside").select_option(first_sae(tab, 1))
    row = tab.locator("#details tr", has=tab.locator("td", has_text="Coverage").first).first
    cells = [text.split()[0] for text in row.locator("td").all_inner_texts()[1:]]
    own, other, difference = map(float, cells)
    assert difference == pytest.approx(own - other, abs=0.0011)
    tab.wait_for_selector("#details h4")
    assert tab.locator("#details table").last.locator("tbody tr").count() > 0


def test_keys_move_through_saes_and_latents(tab):
    tab.keyboard.press("j")
    first = tab.evaluate("[state.sae, rowKey(tableRows()[0])]")
    assert first[0] == first[1]
    tab.keyboard.press("j"), tab.keyboard.press("k")
    assert tab.evaluate("state.sae") == first[0]
    choose(tab, first_sae(tab))
    tab.wait_for_selector("#latent-table tbody tr")
    tab.keyboard.press("n")
    assert tab.evaluate("state.latent === String(foundLatents()[0].latent)")
    tab.keyboard.press("Escape")
    assert tab.evaluate("[state.sae, state.latent]") == ["", ""]
    for key, place in (("/", "q"), ("f", "text"), ("x", "x"), ("y", "y")):
        tab.keyboard.press(key)
        assert tab.evaluate("document.activeElement.id") == place
        tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("Escape")


def test_dropped_scores_give_the_row_that_the_report_gives(tab, study, sweep, tmp_path):
    folder = study.testbeds[0].score_folders[0]
    shutil.copytree(folder, tmp_path / "own", ignore=shutil.ignore_patterns("DONE", "run.json"))
    written = json.loads((tmp_path / "own" / SCORES_FILE).read_text())
    written["subject"]["name"] = "mine <b>"
    (tmp_path / "own" / SCORES_FILE).write_text(json.dumps(written))
    (tmp_path / "bad.json").write_text('{"a": 1}')
    tab.locator("#files").set_input_files([str(tmp_path / "own" / SCORES_FILE), str(tmp_path / "bad.json")])
    tab.wait_for_function("document.getElementById('dropped').textContent.includes('bad.json')")
    assert "scores.json: added; bad.json: no scores.json" in tab.locator("#dropped").inner_text()
    (expected,) = [row for row in collect([sweep, tmp_path / "own"]) if row["own"]]
    got = tab.evaluate("rows.at(-1)")
    assert {name: got.get(name) for name in expected} == expected
    assert "mine <b>: topk" in " ".join(names(tab))
    tab.evaluate(
        """() => { const file = new File(['{}'], 'dropped.json'), moved = new DataTransfer();
        moved.items.add(file);
        window.dispatchEvent(new DragEvent('drop', { dataTransfer: moved, cancelable: true })); }"""
    )
    tab.wait_for_function("document.getElementById('dropped').textContent.startsWith('dropped.json: no scores.json')")


def test_a_thousand_results_open_in_five_seconds_and_filter_in_half_of_one(browser, sweep, tmp_path):
    """By the time that the page itself computes: other work on the machine does not count."""
    few = [row for row in collect([sweep]) if row["kind"] == "sae"]
    rows = [
        {**few[n % len(few)], "name": f"sae-{n}", "l0": 1 + n / 10, "coverage": n / 1000, "n_latents": 32 << n % 4}
        for n in range(1000)
    ]
    (tmp_path / PAGE_FILE).write_text(page([], rows, [], []), encoding="utf-8")
    tab = browser.new_page(viewport=WIDE)
    tab.set_default_timeout(PATIENCE)
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy():
        return next(
            m["value"] for m in session.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration"
        )

    tab.goto((tmp_path / PAGE_FILE).as_uri())
    tab.wait_for_function("document.querySelectorAll('#table tbody tr').length === 100")
    opened = busy()
    began = time.perf_counter()
    tab.locator(".chip[data-facet=architecture][data-value=topk]").click()
    tab.wait_for_function("document.getElementById('count').textContent.startsWith('800 of 1000')")
    filtered = busy() - opened
    tab.close()
    assert opened < 5 and filtered < 0.5, (opened, filtered, time.perf_counter() - began)
