import numpy as np
import other_scores
import pytest

from boardgame_sae.cli import main
from boardgame_sae.files import RunError, read_json
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import Chance, Display, scores
from boardgame_sae.metrics.statistics.compare import side_by_side, table
from boardgame_sae.metrics.statistics.property_means import PropertyMeans
from boardgame_sae.pipeline.comparison import compare, compare_run
from boardgame_sae.runs import Run
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=30)


def knowing(bed, share, seed):
    """Scores of latents that are the classes, wrong at a share of the positions."""
    rng = np.random.default_rng(seed)
    truth = {split: bed.labels(split) for split in SPLITS}
    latents = {split: (t ^ (rng.random(t.shape) < share)).astype(np.float32) for split, t in truth.items()}
    return evaluate(latents, bed, "quick", name=f"wrong {share} {seed}")


@pytest.fixture(scope="module")
def good(bed):
    return [knowing(bed, 0.02, seed) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def bad(bed):
    return [knowing(bed, 0.2, seed) for seed in (3, 4)]


def test_a_difference_is_that_of_the_means_over_seeds_of_every_property_and_group(good, bad):
    differences = {(one.score, one.number): one for one in compare(good, bad)}
    with_statistic = [name for name in good[0] if scores()[name].statistic is not None]
    assert {"coverage", "board_reconstruction"} <= set(with_statistic)
    assert {score for score, _ in differences} == set(with_statistic)
    for name in ("coverage", "board_reconstruction"):
        numbers = PropertyMeans.of(good[0][name].details).numbers()
        assert numbers == ["mine_yours", "legal_move", "flipped", "low", "high"]
        assert [number for score, number in differences if score == name] == numbers
        for number in numbers:
            one = differences[name, number]
            parts = [[s[name].parts.get(number, s[name].value) for s in side] for side in (good, bad)]
            assert one.a == pytest.approx(np.mean(parts[0]), abs=1e-9)
            assert one.b == pytest.approx(np.mean(parts[1]), abs=1e-9)
            assert one.difference == pytest.approx(one.a - one.b, abs=1e-9)
            assert one.interval[0] < one.difference < one.interval[1]
    assert differences["coverage", "mine_yours"].interval[0] > 0


def test_an_sae_does_not_differ_from_itself(good):
    for one in compare(good[:1], good[:1]):
        assert one.difference == 0
        assert one.interval == (0, 0)


def test_the_luck_of_games_cancels(bed, good, bad):
    """Paired, the interval of a difference is narrower than the two intervals laid end to end."""
    (first, *_) = compare(good[:1], bad[:1])
    alone = [side[0]["coverage"].interval for side in (good, bad)]
    assert first.interval[1] - first.interval[0] < sum(high - low for low, high in alone)


def test_score_runs_are_compared_from_their_folders(good, bad, tmp_path, capsys):
    folders = []
    for scored in (*good, *bad):
        with Run("scores", scored.subject["name"], {}, {}, tmp_path / scored.subject["name"]) as run:
            scored.save(run.folder)
            run.finish()
        folders.append(str(run.folder))
    folder, differences = compare_run(folders[:3], folders[3:], out=tmp_path / "compared")
    assert differences == compare(good, bad)
    assert read_json(folder / "differences.json")[0]["difference"] == differences[0].difference
    assert main(["compare", *folders[:3], "--against", *folders[3:], "--out", str(tmp_path / "again")]) == 0
    assert table(differences) in capsys.readouterr().out
    assert "coverage: mine_yours" in table(differences)


def test_scores_without_sums_or_of_other_games_are_refused(bed, good, tiny_model, tiny_corpus, tmp_path):
    good[0].to_json(tmp_path / "scores.json")
    with pytest.raises(ValueError, match="coverage: no sums over games"):
        compare(good[:1], [Scores.load(tmp_path)])
    other = Testbed(tiny_model, tiny_corpus, HOOK, n_games=29)
    with pytest.raises(ValueError, match="scored on different testbeds, n_games: 29, 30"):
        compare(good, [knowing(other, 0.1, 0)])
    with pytest.raises(ValueError, match="both sides"):
        compare(good, [])
    layout = [[name, level, size + 1] for name, level, size in good[0]["coverage"].details["layout"]]
    value = good[0]["coverage"]
    values = {**good[0], "coverage": value._replace(details={**value.details, "layout": layout})}
    with pytest.raises(ValueError, match="coverage: scored on different classes"):
        compare(good[:1], [Scores(good[0].subject, values)])


def test_a_folder_that_scores_were_added_to_is_compared_anew_and_a_baseline_within_a_run_too(
    good, bad, tmp_path, monkeypatch
):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    with Run("scores", "sae", {}, {}) as sae, Run("scores", "baselines", {}, {}) as baselines:
        good[0].save(sae.folder), bad[0].save(baselines / "probe")
        with pytest.raises(RunError, match="not finished"):
            compare_run([sae.folder], [baselines / "probe"])
        sae.finish(), baselines.finish()
    pair = [sae.folder], [baselines / "probe"]
    folder, differences = compare_run(*pair)
    assert differences == compare(good[:1], bad[:1])
    assert compare_run(*pair) == (folder, differences)
    few = {name: value for name, value in good[0].items() if name != "board_reconstruction"}
    with Run("scores", "sae", {}, {}) as sae:
        sae.reopen()
        Scores(good[0].subject, few).save(sae.folder)
        sae.finish()
    again, fewer = compare_run(*pair)
    assert again != folder and {one.score for one in fewer} == {one.score for one in differences} & set(few)


def test_side_by_side_has_a_line_per_subject_and_chance_at_the_end(good):
    text = side_by_side(good[:2])
    heads, first, second, chance = text.splitlines()
    assert heads.split() == ["L0", *good[0]]
    for line, scored in zip((first, second), good[:2], strict=True):
        assert line.startswith(scored.subject["name"]) and f"  {scored.subject['l0']:.1f}  " in line
        low, high = scored["coverage"].interval
        assert f"{scored['coverage'].value:.4f} [{low:.4f}, {high:.4f}]" in line
    assert chance.split() == ["always", "on", "(chance)", f"{good[0]['coverage'].parts['always_on']:.4f}"]
    assert len({line.index(" [") for line in (first, second)}) == 1


def test_every_score_shows_the_level_of_chance_that_it_declares(good, monkeypatch):
    """A score of another chance has a line of its own; one that is not the same for all has none."""
    display = Display(parts={"precision": "by guessing"}, chance=Chance("precision"))
    other_scores.changed(monkeypatch, board_reconstruction={"display": display})
    lines = side_by_side(good[:1]).splitlines()[2:]
    coverage, rebuilt = good[0]["coverage"].parts, good[0]["board_reconstruction"].parts
    assert [line.split()[-1] for line in lines] == [f"{coverage['always_on']:.4f}", f"{rebuilt['precision']:.4f}"]
    assert lines[1].startswith("by guessing")
    other_scores.changed(
        monkeypatch, board_reconstruction={"display": Display(chance=Chance("precision", shared=False))}
    )
    assert side_by_side(good[:1]).splitlines()[2:] == [lines[0].rstrip()]
