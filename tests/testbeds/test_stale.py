"""Nothing is scored on a truth, a GPT or an SAE that is not the one it says: changed inputs stop every verb by name."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from boardgame_sae.cli import main
from boardgame_sae.files import RunError, read_json
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.score import score_saes
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.testbeds import testbed as testbeds
from boardgame_sae.testbeds.testbed import Testbed, load_testbed
from boardgame_sae.transcripts.corpus import Corpus, CorpusError
from boardgame_sae.transcripts.generate import generate

HOOK = "blocks.1.hook_resid_post"
SMALL = {"n_latents": 16, "k": 2, "n_activations": 512, "n_harvested": 512, "batch_size": 64, "n_calibration": 64}


@pytest.fixture(scope="module")
def made(tiny_corpus, tiny_model, tmp_path_factory) -> Path:
    """Runs of a corpus, a GPT, a testbed, an SAE and its scores, by these names in one folder."""
    root = tmp_path_factory.mktemp("made")
    shutil.copytree(tiny_corpus.path.parent, root / "corpus")
    gpt = tiny_model_folder(tmp_path_factory)
    shutil.copytree(gpt, root / "gpt")
    bed = small_bed(root / "gpt", root / "corpus", root / "bed")
    train_sae(load_testbed(bed, "cpu"), out=root / "sae", **SMALL)
    (scores,) = score_saes([root / "sae"], bed, suite="quick", device="cpu")
    shutil.copytree(scores, root / "scores")
    return root


def small_bed(gpt: Path, corpus: Path, out: Path) -> Path:
    return testbeds.testbed_run(gpt, corpus, hook_name=HOOK, n_games=20, out=out, device="cpu")


def tiny_model_folder(tmp_path_factory) -> Path:
    return next(path.parent for path in sorted(tmp_path_factory.getbasetemp().glob("gpt*/tiny/cfg.json")))


@pytest.fixture
def root(made, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    return Path(shutil.copytree(made, tmp_path / "made"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


FILES = (
    "corpus/corpus.h5", "corpus/run.json", "gpt/model.safetensors", "gpt/cfg.json", "gpt/metrics.jsonl",
    "bed/testbed.json", "bed/test_labels.h5", "bed/run.json", "sae/sae.safetensors", "sae/cfg.json",
    "scores/scores.json", "scores/latents.parquet", "scores/coverage.sums.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("how", [flip, Path.unlink])
def test_a_changed_or_missing_file_of_any_input_stops_what_reads_it_by_name(root, how, capsys):
    verbs = {
        "score": ["score", root / "sae", "--testbed", root / "bed", "--suite", "quick", "--device", "cpu"],
        "train-sae": ["train-sae", "--testbed", root / "bed", "--n-activations", "64", "--device", "cpu"],
        "export": ["export", root / "sae", "--out", root / "exported"],
        "compare": ["compare", root / "scores", "--against", root / "scores"],
        "testbed": ["testbed", "--model", root / "gpt", "--corpus", root / "corpus", "--device", "cpu"],
    }
    reads = {
        "corpus": ("score", "train-sae", "testbed"),
        "gpt": ("score", "train-sae", "testbed"),
        "bed": ("score", "train-sae"),
        "sae": ("score", "export"),
        "scores": ("compare",),
    }
    for name in FILES:
        whole = (root / name).read_bytes()
        how(root / name)
        for verb in (*reads[name.partition("/")[0]], "check"):
            words = verbs.get(verb, ["check", root / Path(name).parts[0]])
            assert main(list(map(str, words))) == 1, (name, verb)
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and f"{Path(name).name}: " in said, (name, verb, said)
        (root / name).write_bytes(whole)


def test_ls_shows_what_is_damaged_and_goes_on(root, capsys, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root.parent))
    monkeypatch.setenv("BOARDGAME_SAE_TESTBEDS", str(root))
    flip(root / "sae/cfg.json")
    flip(root / "bed/testbed.json")
    assert main(["ls"]) == 0
    said = capsys.readouterr().out
    assert "sae/cfg.json: changed" in said and "bed/testbed.json: changed" in said
    assert f"done  {root / 'gpt'}" in said


def test_a_corpus_made_anew_in_place_under_a_testbed_is_an_error_that_names_both(root, capsys):
    shutil.rmtree(root / "corpus")
    generate("othello4", n_games=600, seed=1, validation_fraction=0.2, test_fraction=0.2, out=root / "corpus")
    for verb in (["check", root / "bed"], ["score", root / "sae", "--testbed", root / "bed", "--device", "cpu"]):
        assert main(list(map(str, verb))) == 1
        said = capsys.readouterr().err
        assert "the corpus has changed since the testbed" in said and f"{root}/bed" in said and "/corpus: " in said


def test_a_gpt_changed_by_hand_under_a_testbed_is_an_error_that_names_both(root):
    change_weights(root / "gpt/model.safetensors")
    with pytest.raises(RunError, match=r"gpt: the model has changed since the testbed .*bed was made"):
        load_testbed(root / "bed", "cpu")


def change_weights(path: Path) -> None:
    """As somebody would who also removes DONE."""
    weights = load_file(path)
    name = sorted(weights)[-1]
    save_file({**weights, name: weights[name] * 1.5}, path)
    (path.parent / "DONE").unlink()


def test_labels_of_another_corpus_are_refused(root):
    generate("othello4", n_games=600, seed=1, validation_fraction=0.2, test_fraction=0.2, out=root / "other")
    other = small_bed(root / "gpt", root / "other", root / "bed2")
    (root / "bed/DONE").unlink()
    shutil.copy(other / "test_labels.h5", root / "bed")
    with pytest.raises(CorpusError, match=r"test_labels\.h5: labels of another corpus than this testbed's"):
        load_testbed(root / "bed", "cpu")


def test_scores_belong_to_what_the_weights_are_and_not_to_what_a_card_says(root):
    def scored(*changed: str) -> Path:
        (folder,) = score_saes([root / "sae"], root / "bed", suite="quick", device="cpu")
        return folder

    before = scored()
    assert scored() == before
    for name in ("run.json", "DONE"):
        (root / "sae" / name).unlink()
    weights = load_file(root / "sae/sae.safetensors")
    save_file({**weights, "W_enc": weights["W_enc"] * 0.5}, root / "sae/sae.safetensors")
    after = scored()
    assert after != before
    subjects = [Scores.load(folder).subject for folder in (before, after)]
    assert subjects[0]["content"] != subjects[1]["content"]
    assert subjects[0]["testbed"]["content"] == subjects[1]["testbed"]["content"]


def test_a_gpt_changed_in_memory_is_another_testbed_by_content_and_has_no_stale_activations(root):
    bed = load_testbed(root / "bed", "cpu")
    content, hash_ = bed.content, bed.hash
    bed.harvest(100)
    bed.model.gpt.unembed.weight.data += 1
    assert bed.content != content and bed.hash == hash_
    with pytest.raises(RunError, match="was made from the model as it was before it changed"):
        bed.harvest(100)


def test_moving_the_parts_together_changes_nothing(root, tmp_path):
    moved = Path(shutil.move(root, tmp_path / "elsewhere"))
    assert load_testbed(moved / "bed", "cpu").made_of == read_json(moved / "bed/testbed.json")["content"]


def test_a_testbed_made_through_a_link_is_found_again(root, tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/link").symlink_to(root)
    link = tmp_path / "deep/er/link"
    bed = small_bed(link / "gpt", link / "corpus", link / "bed2")
    assert isinstance(load_testbed(bed, "cpu"), Testbed) and Corpus.open(link / "corpus")
