"""What the page's scripts are given."""

import pytest

from boardgame_sae.metrics.baselines.registry import baselines
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.report.explorer.data import DERIVED, axes, kinds, page_data, table_columns
from boardgame_sae.report.explorer.latent_files import Listed
from boardgame_sae.report.explorer.pictures import PictureParts
from boardgame_sae.report.rows import collect
from boardgame_sae.saes.registry import look


@pytest.fixture(scope="module")
def rows(sweep):
    return collect([sweep])


def test_the_axes_are_the_registered_scores_and_what_stands_beside_them(rows):
    known = {axis["key"]: axis for axis in axes(rows)}
    assert next(iter(known)) == "l0"
    for name, score in scores_in("supervised").items():
        assert (known[name]["title"], known[name]["meaning"]) == (score.title, score.meaning)
        assert known[name]["group"] == "Scores" and known[name]["main"]
    assert known["coverage.legal_move"]["group"] == "Coverage"
    assert (known["n_latents"]["group"], known["n_latents"]["log"]) == ("Settings", True)
    assert not known["coverage"]["log"] and known["l0"]["log"]
    assert not set(known) & {"name", "sweep", "own", "pooled_as"}
    assert known["coverage.high"]["title"] == "Coverage, high level"
    assert known["direction_recovery_means"]["title"] == "Direction recovery: by mean differences"
    assert not [key for key in known if key.endswith(("_low", "_high"))]


def test_an_axis_has_a_level_of_chance_where_all_subjects_share_it(rows):
    levels = {axis["key"]: axis["chance"] for axis in axes(rows) if axis["chance"]}
    assert levels["coverage"] == {"key": "coverage_always_on", "title": "always on (chance)"}
    assert levels["coverage.high"]["key"] == "coverage.high_always_on"
    assert all(key.startswith("coverage") for key in levels)


def test_the_table_has_words_then_l0_then_the_short_columns(rows):
    columns = table_columns(rows)
    assert [column["key"] for column in columns if column["words"]] == ["recipe", "kind_title"]
    assert [column["title"] for column in columns][2:5] == ["L0", "Coverage", "Coverage: above chance"]
    both = table_columns([*rows, {**rows[0], "hook_name": "blocks.0.hook_resid_post"}])
    assert [column["key"] for column in both if column["words"]] == ["recipe", "sweep", "hook_name", "kind_title"]


def test_every_kind_of_baseline_has_its_own_look():
    looks = kinds()
    assert list(looks) == list(baselines())
    assert {kind: style["colour"] for kind, style in looks.items()} == {
        kind: baseline.look.colour for kind, baseline in baselines().items()
    }
    assert [kind for kind, style in looks.items() if style["joined"]] == ["sparse_probe"]
    assert (looks["neurons"]["dash"], looks["residual"]["dash"], looks["probe"]["symbol"]) == ("dash", "dot", "star")


def test_rows_are_given_column_by_column_with_what_only_the_page_needs(rows, study):
    (first, *_) = [row for row in rows if row["kind"] == "sae"]
    listed = [Listed(first["sweep"], first["hook_name"], first["name"], 3, True, 7)]
    data = page_data(rows, [study], listed)
    assert data["columns"] == [*rows[0], *DERIVED] and data["n_rows"] == len(rows)
    back = [dict(zip(data["values"], line, strict=True)) for line in zip(*data["values"].values(), strict=True)]
    assert [{column: row[column] for column in rows[0]} for row in back] == rows
    assert [(row["name"], row["file"], row["boards"]) for row in back if row["file"] is not None] == [
        (first["name"], 3, True)
    ]
    assert {row["layer"] for row in back} == {1}
    assert data["architectures"]["topk"] == {"colour": look("topk")[0], "symbol": "diamond", "sparsity_field": "k"}
    assert data["main"] == ["coverage", "board_reconstruction"]
    assert [truth["sweep"] for truth in data["truths"]] == [study.label]


def test_a_study_without_scores_has_data_too():
    data = page_data([], [], [])
    assert data["main"] == [] and data["n_rows"] == 0
    assert [axis["key"] for axis in data["axes"]] == ["l0"]


def test_pictures_are_kept_tag_by_tag_and_come_back_whole():
    one = '<svg a="1"><g id="x">\n<text>a &gt; b</text></g></svg>'
    other = one.replace("a &gt; b", "c")
    parts = PictureParts()
    numbers = [parts.numbers(one), parts.numbers(other)]
    texts = parts.texts()
    assert ["".join(texts[number] for number in picture) for picture in numbers] == [one, other]
    assert len(texts) == len(set(numbers[0])) + 1, "only what differs is kept twice"
