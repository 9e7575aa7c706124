"""What a student does, in headless Chromium: start a lesson, fill an exercise, click, move sliders.

Needs playwright (`pip install playwright`), a Chromium on the path, and marimo.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.browser
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PATIENCE = 240
"""Seconds to wait for anything: a busy machine is slow."""
ADDRESS = re.compile(r"http://\S+?:\d+\S*?(?=\x1b|\s)")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    pytest.importorskip("marimo", reason="needs marimo")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=1000 * PATIENCE)
        yield opened
        opened.close()


@pytest.fixture
def lesson(browser, tmp_path, request):
    """A lesson as the one command opens it; afterwards nothing was asked of a network and nothing went wrong."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "boardgame_sae.workshop", str(request.param), "--folder", str(tmp_path / "mine")]
    environment = {**os.environ, "BROWSER": "true", "PYTHONUNBUFFERED": "1"}
    with open(log, "wb") as file:
        started = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    try:
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(1000 * PATIENCE)
        wrong, asked = [], []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda one: asked.append(one.url))
        page.goto(address(log))
        yield page
        page.set_viewport_size(PHONE)
        wide, shown = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        page.close()
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait()
    assert wrong == [] and wide <= shown
    assert all(url.startswith(("http://localhost:", "http://127.0.0.1:", "data:", "blob:")) for url in asked), asked


def address(log):
    """Where marimo says that the lesson is."""
    for _ in range(10 * PATIENCE):
        if found := ADDRESS.search(log.read_text(errors="replace") + " "):
            return found[0]
        time.sleep(0.1)
    raise TimeoutError(log.read_text(errors="replace"))


def fill(page, name, code):
    """Write another function in an exercise's cell, and run it."""
    cell = page.locator(".cm-content", has_text=f"def {name}(").first
    cell.scroll_into_view_if_needed()
    cell.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


def move(page, label, steps):
    """Move the slider with a label."""
    slider = page.locator("marimo-slider", has_text=label).locator("[role=slider]").first
    slider.scroll_into_view_if_needed()
    slider.focus()
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")


@pytest.mark.parametrize("lesson", [1], indirect=True)
def test_lesson_1_runs_by_itself_checks_answers_and_shows_the_board(lesson):
    lesson.get_by_text("0 of 6 exercises pass").wait_for()
    counts = "def legal_moves_by_ply(game, text):\n    return [len(game.legal_moves(p)) for p in game.replay(text)]"
    fill(lesson, "legal_moves_by_ply", counts + "[1:]")
    lesson.get_by_text("off by one ply: the start is missing").wait_for()
    fill(lesson, "legal_moves_by_ply", counts)
    lesson.get_by_text("1 of 6 exercises pass").wait_for()
    move(lesson, "plies played", 6)
    lesson.get_by_text("after 14 plies").wait_for()


@pytest.mark.parametrize("lesson", [2], indirect=True)
def test_lesson_2_has_a_board_to_click_that_shows_what_each_layer_believes(lesson):
    lesson.get_by_text("c3, layer by layer").wait_for()
    lesson.get_by_role("button", name="d4", exact=True).first.click()
    lesson.get_by_text("d4, layer by layer").wait_for()


@pytest.mark.parametrize("lesson", [5], indirect=True)
def test_lesson_5_has_a_threshold_to_move_and_latents_to_browse(lesson):
    lesson.get_by_text("Above 0.20 of its largest activation").wait_for()
    move(lesson, "threshold", 4)
    lesson.get_by_text("Above 0.40 of its largest activation").wait_for()
    first = lesson.locator("caption", has_text="Latent ").first.inner_text()
    move(lesson, "latent that is ever on", 3)
    lesson.locator("caption", has_text="Latent ").filter(has_not_text=first).first.wait_for()
