"""Optional libraries: scoring and training need none of them, and what needs one says which."""

import subprocess
import sys

import pytest

CODE = """
import sys
for name in ("transformer_lens", "transformers", "huggingface_hub", "wandb", "datasets", "plotly", "zstandard"):
    sys.modules[name] = None
from boardgame_sae.cli import main
"""
NO_FIGURES = """
sys.modules["matplotlib"] = None
"""


def run(code: str, folder) -> subprocess.CompletedProcess[str]:
    script = CODE + code
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("attribute", "extra"), [("to_transformer_lens", "transformer-lens"), ("to_hugging_face", "hugging-face")]
)
def test_what_needs_an_optional_library_names_the_extra(tmp_path, attribute, extra):
    code = f"""
import boardgame_sae as bgs
try:
    bgs.load_testbed("othello6-tiny", "cpu").model.{attribute}()
except RuntimeError as error:
    print(error)
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"which is not installed: pip install 'boardgame-sae[{extra}]'" in done.stdout


def test_a_report_without_plotly_names_the_extra_before_it_works(tmp_path):
    done = run('sys.exit(main(["report", "othello6-tiny", "--out", "report"]))', tmp_path)
    assert done.returncode == 1 and not (tmp_path / "report").exists()
    assert "plotly, which is not installed: pip install 'boardgame-sae[report]'" in done.stderr


def test_figures_are_drawn_without_plotly(tmp_path):
    done = run('import boardgame_sae as bgs; bgs.plot("othello6-tiny").savefig("figure.png")', tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "code",
    [
        'sys.exit(main(["report", "othello6-tiny"]))',
        'sys.exit(main(["study", "shift"]))',
        'import boardgame_sae as bgs; bgs.plot("othello6-tiny")',
    ],
)
def test_what_draws_figures_names_the_extra(tmp_path, code):
    done = run(NO_FIGURES + code, tmp_path)
    assert done.returncode == 1
    assert "matplotlib, which is not installed: pip install 'boardgame-sae[report]'" in done.stderr


def test_games_packed_with_zstd_name_the_extra_and_plain_ones_need_none(tmp_path):
    (tmp_path / "plain.pgn").write_text('[Result "1-0"]\n\n1. e4 e5 2. Nf3 Nc6 1-0\n\n')
    (tmp_path / "packed.pgn.zst").write_bytes(bytes.fromhex("28b52ffd0401010000d8ed9943"))  # nothing, as zstd
    done = run('sys.exit(main(["import-pgn", "plain.pgn", "--min-plies", "1", "--out", "plain"]))', tmp_path)
    assert "zstd" not in done.stderr
    done = run('sys.exit(main(["import-pgn", "packed.pgn.zst", "--out", "packed"]))', tmp_path)
    assert done.returncode == 1
    assert "packed.pgn.zst" in done.stderr and "pip install 'boardgame-sae[zstd]'" in done.stderr


def test_an_sae_is_scored_and_looked_at_without_them(tmp_path):
    code = """
import boardgame_sae as bgs
testbed, sae = bgs.load_testbed("othello6-tiny", "cpu"), bgs.load_sae("othello6-tiny/topk-16")
scores = bgs.evaluate(sae, testbed, "supervised")
scores.save("scores")
assert bgs.results("scores").fetchall()
bgs.latent(sae, testbed, 17)._repr_html_()
"""
    done = run(NO_FIGURES + code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_module_is_imported_without_them(tmp_path):
    code = """
import pkgutil, importlib, boardgame_sae
for module in pkgutil.walk_packages(boardgame_sae.__path__, "boardgame_sae."):
    if not module.name.endswith("__main__") and ".testbeds.data" not in module.name:
        importlib.import_module(module.name)
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
