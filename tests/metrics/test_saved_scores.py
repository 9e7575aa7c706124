import numpy as np
import pytest

from boardgame_sae.files import RunError, file_hash, read_json
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import LATENTS_FILE, SCORES_FILE, SUMS_FILE, Scores, ScoreValue, brackets

LATENTS = {"latent": np.arange(3), "label": np.array(["", "a1", "b2"], object), "f1": np.array([0.0, 0.25, 1.0])}
SUMS = GameSums.dense({"loss": np.array([0.5, 1.5]), "tokens": np.array([3, 4])}, same=("tokens",))
ABOUT = {"name": "toy", "kind": "sae", "l0": 2.5}


@pytest.fixture
def scores():
    details = {"by_property": {"board": {"value": 0.5, "interval": (0.25, 0.75), "parts": {}, "details": {}}}}
    told = ScoreValue(0.5, (0.25, 0.75), {"board": 0.5, "n": 3}, details, {}, {"n_rounds": 2}, 3, latents=LATENTS)
    loss = ScoreValue(2.0, None, {"zeroed": 4.0}, {}, {"zeroed": (3.0, 5.0)}, sums=SUMS)
    return Scores(ABOUT, {"told": told, "loss": loss}, {"loss": 0.1})


def test_scores_are_a_mapping_by_name(scores):
    assert (list(scores), len(scores), "told" in scores, "else" in scores) == (["told", "loss"], 2, True, False)
    assert scores["loss"].value == 2.0
    assert (scores.subject, scores.seconds) == (ABOUT, {"loss": 0.1})
    with pytest.raises(KeyError):
        scores["else"]


def test_plain_data_is_all_but_what_lies_in_files_of_its_own(scores):
    assert scores["told"].plain() == {
        "value": 0.5, "interval": (0.25, 0.75), "parts": {"board": 0.5, "n": 3}, "details": scores["told"].details,
        "intervals": {}, "config": {"n_rounds": 2}, "version": 3,
    }  # fmt: skip


def test_a_folder_brings_everything_back_and_is_written_again_to_the_same_bytes(scores, tmp_path):
    scores.save(tmp_path / "a")
    files = {SCORES_FILE, SUMS_FILE.format("loss"), LATENTS_FILE}
    assert {path.name for path in (tmp_path / "a").iterdir()} == files
    assert set(read_json(tmp_path / "a" / SCORES_FILE)["scores"]) == {"told", "loss"}
    back = Scores.load(tmp_path / "a")
    assert back.subject == ABOUT and back.seconds == {}
    for name, value in scores.items():
        ours = back[name]
        assert (ours.value, ours.interval, ours.parts, ours.intervals) == (*value[:3], value.intervals)
        assert (ours.config, ours.version) == (value.config, value.version)
    assert back["told"].sums is None
    for name, part in SUMS.parts.items():
        assert (back["loss"].sums.parts[name].toarray() == part.toarray()).all()
    assert {name: column.tolist() for name, column in back.latents.items()} == {
        n: c.tolist() for n, c in LATENTS.items()
    }
    back.save(tmp_path / "b")
    assert {name: file_hash(tmp_path / "a" / name) for name in files} == {
        n: file_hash(tmp_path / "b" / n) for n in files
    }


def test_numbers_alone_have_neither_sums_nor_latents(scores, tmp_path):
    scores.to_json(tmp_path / "scores.json")
    for back in (Scores.from_json(tmp_path / "scores.json"), Scores.load(tmp_path)):
        assert back.latents is None and back["loss"].sums is None
        assert back["loss"].intervals == {"zeroed": (3.0, 5.0)}


def test_a_score_added_to_a_folder_leaves_the_columns_that_others_have(scores, tmp_path):
    scores.save(tmp_path)
    known = Scores.load(tmp_path)
    firing = {"f1": np.array([0.5, 0.5, 0.5]), "n_on": np.array([7, 8, 9])}
    values = {**known, "firing": ScoreValue(1.0, None, {}, {}, latents=firing)}
    Scores(known.subject, values, latents=known.latents).save(tmp_path)
    table = Scores.load(tmp_path).latents
    assert list(table) == ["latent", "label", "f1", "n_on"]
    for name, column in ({**LATENTS, **firing}).items():
        assert table[name].tolist() == column.tolist()


def test_damage_is_named_with_its_file(scores, tmp_path):
    scores.save(tmp_path)
    for name in (LATENTS_FILE, SUMS_FILE.format("loss"), SCORES_FILE):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(RunError, match=rf"{name}: damaged"):
            Scores.load(tmp_path)
        (tmp_path / name).write_bytes(whole)
    for text in ("[]", "{}", '{"subject": {}, "scores": {"x": {"number": 1}}}', '{"subject": {}, "scores": []}'):
        (tmp_path / SCORES_FILE).write_text(text)
        with pytest.raises(RunError, match=r"scores\.json: .*; score the SAE again"):
            Scores.load(tmp_path)
    (tmp_path / SCORES_FILE).unlink()
    with pytest.raises(RunError, match=r"scores\.json: no such file"):
        Scores.load(tmp_path)


def test_the_table_shows_values_and_parts_with_their_intervals(scores):
    lines = [line.split(maxsplit=1) for line in scores.table().splitlines()]
    assert lines == [
        ["told", "0.5000 [0.2500, 0.7500]"],
        ["board", "0.5000 [0.2500, 0.7500]"],
        ["loss", "2.0000"],
        ["zeroed", "4.0000 [3.0000, 5.0000]"],
    ]
    assert (brackets(None), brackets((0.0, 1.0))) == ("", " [0.0000, 1.0000]")
