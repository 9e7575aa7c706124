"""A testbed like another, or for an SAE; what a score rests on; what does not fit is found at once."""

import re

import pytest

import boardgame_sae as bgs
from boardgame_sae import cli
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.pipeline import score as scoring
from boardgame_sae.pipeline.score import score_with_baselines
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds import testbed as beds
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def made(tiny_model, tiny_corpus, tmp_path_factory):
    """A folder with a GPT, a testbed of it and some SAEs."""
    root = tmp_path_factory.mktemp("like")
    tiny_model.save(root / "gpt")
    own = {"hook_name": HOOK, "properties": ("legal_move",), "n_games": 30}
    beds.testbed_run(root / "gpt", tiny_corpus.path, **own, out=root / "bed", device="cpu")
    for name, width, hook_name in (("fits", 16, "blocks.1.hook_resid_post"), ("wide", 17, HOOK), ("silent", 16, None)):
        sae = make_sae("topk", d_model=width, n_latents=24, k=4)
        sae.metadata = {} if hook_name is None else {"hook_name": hook_name}
        sae.save(root / name)
    return root


@pytest.fixture
def run(made, tiny_corpus, capsys, tmp_path):
    """Run the verb `testbed` on the tiny corpus: exit code, folder, standard error."""

    def call(*words):
        words = ["testbed", "--corpus", tiny_corpus.path.parent, "--device", "cpu", "--out", tmp_path / "out", *words]
        code = cli.main([str(word) for word in words])
        return code, tmp_path / "out", capsys.readouterr().err

    return call


def test_like_another_testbed_takes_all_that_is_left_open(run, made):
    code, folder, _ = run("--like", made / "bed", "--n-games", "25")
    bed = load_testbed(folder, "cpu")
    assert code == 0 and (bed.hook_name, bed.properties, bed.n_games) == (HOOK, ("legal_move",), 25)


def test_an_sae_gives_the_hook_point_and_a_flag_wins(run, made):
    code, folder, _ = run("--like", made / "bed", "--sae", made / "fits", "--properties", "flipped")
    bed = load_testbed(folder, "cpu")
    assert code == 0 and (bed.hook_name, bed.properties) == ("blocks.1.hook_resid_post", ("flipped",))


def test_an_sae_of_a_shipped_testbed_brings_its_gpt(tmp_path, capsys):
    corpus = bgs.generate(
        game="othello6", n_games=40, test_fraction=0.3, validation_fraction=0.3, out=tmp_path / "games"
    )
    mine = tmp_path / "mine"
    bgs.load_sae("othello6-tiny/topk-16").save(mine)  # says which GPT it was trained on, wherever it lies
    for sae in ("othello6-tiny/topk-16", mine):
        words = ["testbed", "--sae", sae, "--corpus", corpus.path.parent, "--device", "cpu", "--out", tmp_path / "bed"]
        assert cli.main([str(word) for word in words]) == 0, capsys.readouterr().err
        bed, shipped = load_testbed(tmp_path / "bed", "cpu"), load_testbed("othello6-tiny", "cpu")
        assert (bed.model.hash, bed.hook_name, bed.properties) == (
            shipped.model.hash, shipped.hook_name, shipped.properties,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sae", "silent"], "field 'model' is required, or 'like'"),
        ([], "field 'model' is required, or 'like'"),
        (["--model", "gpt", "--sae", "wide"], "takes activations of width 17, those at .* have width 16"),
        (["--model", "gpt", "--sae", "silent"], "does not say which hook point it reads; give --hook-name"),
        (["--model", "gpt", "--hook-name", "blocks.9.hook_resid_post"], "no hook point"),
        (["--model", "gpt", "--properties", "legal_moves"], "did you mean 'legal_move'"),
        (["--model", "gpt", "--positions", "dot"], "no positions 'dot'"),
        (["--like", "othello7"], "no shipped testbed"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_label_is_computed(run, made, monkeypatch, words, said):
    def never(*_):
        raise AssertionError("labels were computed")

    monkeypatch.setattr(Testbed, "labels", never)
    names = {"gpt", "wide", "silent"}
    code, _, err = run(*(made / word if word in names else word for word in words))
    assert code in (1, 2)
    assert re.search(said, err), err


def test_an_sae_of_another_width_or_hook_point_is_found_before_any_is_scored(made, monkeypatch):
    monkeypatch.setattr(scoring, "score_saes", lambda *_, **__: pytest.fail("scored"))
    for name, said in (("wide", "wide takes activations of width 17"), ("fits", "fits says it reads blocks.1")):
        with pytest.raises(ValueError, match=said):
            score_with_baselines([made / "silent", made / name], made / "bed", device="cpu")


def test_scores_say_on_how_many_classes_and_positions_they_rest(made, tiny_corpus, tiny_model, capsys):
    sae = make_sae("topk", d_model=16, n_latents=24, k=4)
    scores = evaluate(sae, Testbed(tiny_model, tiny_corpus, HOOK, n_games=60), "quick")
    scored, known = scores.subject["classes"]["mine_yours"]
    n = scores.subject["positions"]["test"]
    (line,) = [line for line in scores.table().splitlines() if line.startswith("coverage ")]
    assert line.endswith(f"  on {scored} of {known} classes of mine_yours, {n:,} positions") and known == 32
    assert "warning" not in capsys.readouterr().err
    assert f"on {scored} of {known} classes" in scores._repr_html_()


def test_a_headline_that_rests_on_a_tenth_of_its_classes_is_a_warning(tiny_corpus, tiny_model, capsys, monkeypatch):
    bed = Testbed(tiny_model, tiny_corpus, HOOK, n_games=60)
    supported_P = bed.supported_P.copy()
    supported_P[3:32] = False  # of the 32 classes of mine_yours three are left
    monkeypatch.setitem(bed.__dict__, "supported_P", supported_P)
    evaluate(make_sae("topk", d_model=16, n_latents=24, k=4), bed, "quick")
    n = int(supported_P[:32].sum())
    assert f"warning: only {n} of 32 classes of mine_yours are true, and false" in capsys.readouterr().err
