"""Optional libraries: scoring and training need none of them, and what needs one says which."""

import subprocess
import sys

import pytest

CODE = """
import sys
for name in ("transformer_lens", "transformers", "huggingface_hub", "wandb", "datasets"):
    sys.modules[name] = None
from boardgame_sae.cli import main
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


def test_every_module_is_imported_without_them(tmp_path):
    code = """
import pkgutil, importlib, boardgame_sae
for module in pkgutil.walk_packages(boardgame_sae.__path__, "boardgame_sae."):
    if not module.name.endswith("__main__") and ".testbeds.data" not in module.name:
        importlib.import_module(module.name)
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
