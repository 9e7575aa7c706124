import numpy as np
import pytest

from boardgame_sae.cli import main
from boardgame_sae.files import read_json
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.intervals.compare import compare, compare_run, side_by_side, table
from boardgame_sae.metrics.intervals.property_means import STATISTICS, Layout
from boardgame_sae.metrics.results import Scores
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
    found = {(each.score, each.number): each for each in compare(good, bad)}
    for name in STATISTICS:
        numbers = Layout.of(good[0][name].details).numbers()
        assert numbers == ["mine_yours", "legal_move", "flipped", "low", "high"]
        for number in numbers:
            each = found[name, number]
            parts = [[s[name].parts.get(number, s[name].value) for s in side] for side in (good, bad)]
            assert each.a == pytest.approx(np.mean(parts[0]), abs=1e-9)
            assert each.b == pytest.approx(np.mean(parts[1]), abs=1e-9)
            assert each.difference == pytest.approx(each.a - each.b, abs=1e-9)
            assert each.interval[0] < each.difference < each.interval[1]
    assert found["coverage", "mine_yours"].interval[0] > 0


def test_an_sae_does_not_differ_from_itself(good):
    for each in compare(good[:1], good[:1]):
        assert each.difference == 0
        assert each.interval == (0, 0)


def test_the_luck_of_games_cancels(bed, good, bad):
    """Paired, the interval of a difference is narrower than the two intervals laid end to end."""
    (each, *_) = compare(good[:1], bad[:1])
    alone = [side[0]["coverage"].interval for side in (good, bad)]
    assert each.interval[1] - each.interval[0] < sum(high - low for low, high in alone)


def test_score_runs_are_compared_from_their_folders(good, bad, tmp_path, capsys):
    folders = []
    for scores in (*good, *bad):
        with Run("scores", scores.subject["name"], {}, {}, tmp_path / scores.subject["name"]) as run:
            scores.save(run.folder)
            run.finish()
        folders.append(str(run.folder))
    folder, found = compare_run(folders[:3], folders[3:], out=tmp_path / "compared")
    assert found == compare(good, bad)
    assert read_json(folder / "differences.json")[0]["difference"] == found[0].difference
    assert main(["compare", *folders[:3], "--against", *folders[3:], "--out", str(tmp_path / "again")]) == 0
    assert table(found) in capsys.readouterr().out
    assert "coverage: mine_yours" in table(found)


def test_scores_without_counts_or_of_other_games_are_refused(bed, good, tiny_model, tiny_corpus, tmp_path):
    good[0].to_json(tmp_path / "scores.json")
    with pytest.raises(ValueError, match="no counts of games"):
        compare(good[:1], [Scores.load(tmp_path)])
    other = Testbed(tiny_model, tiny_corpus, HOOK, n_games=29)
    with pytest.raises(ValueError, match="scored on different testbeds, n_games: 29, 30"):
        compare(good, [knowing(other, 0.1, 0)])
    with pytest.raises(ValueError, match="both sides"):
        compare(good, [])


def test_side_by_side_has_a_line_a_subject_and_chance_at_the_end(good):
    text = side_by_side(good[:2])
    heads, first, second, chance = text.splitlines()
    assert heads.split() == ["L0", *good[0]]
    for line, scores in zip((first, second), good[:2], strict=True):
        assert line.startswith(scores.subject["name"]) and f"  {scores.subject['l0']:.1f}  " in line
        low, high = scores["coverage"].interval
        assert f"{scores['coverage'].value:.4f} [{low:.4f}, {high:.4f}]" in line
    assert chance.split() == ["always", "on", "(chance)", f"{good[0]['coverage'].parts['always_on']:.4f}"]
    assert len({line.index(" [") for line in (first, second)}) == 1
