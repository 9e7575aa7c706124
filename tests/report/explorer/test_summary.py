"""What the page says in words and small tables, against the files it is about."""

import re
from dataclasses import replace

import pytest

from boardgame_sae.files import read_json
from boardgame_sae.report.explorer.summary import legality_table, probe_table, summary
from boardgame_sae.report.rows import collect


@pytest.fixture(scope="module")
def rows(sweep):
    return collect([sweep])


def single(rows):
    return [row for row in rows if row["kind"] == "sae" and row["n_seeds"] == 1]


def test_the_summary_has_the_headline_numbers(rows, study):
    legality = read_json(study.model / "legality.json")
    text = summary(study, rows)
    assert f"{legality['test']['legal_rate']:.2%}" in text
    coverage, reconstruction = (max(row[name] for row in single(rows)) for name in ("coverage", "board_reconstruction"))
    assert f"Of 4 SAEs at block 1, the best coverage of “mine yours” is {coverage:.3f}, of " in text
    assert f"The best board reconstruction is {reconstruction:.3f}, of " in text
    assert f"always on (chance) {rows[0]['coverage_always_on']:.3f}" in text
    low, high = legality["test"]["interval"]
    assert f"[{low:.2%}, {high:.2%}]" in text


def test_the_table_has_the_best_saes_then_ceilings_then_floors(rows, study):
    table = summary(study, rows).split("<tbody>")[1]
    lines = [re.findall(r"<td>(.*?)</td>", line) for line in table.splitlines()]
    roles = [role for role, *_ in lines if role != "the same, seeds pooled"]
    assert roles[0] == "best SAE by coverage"
    ceilings = ["ceiling of the same sparsity", "ceiling", "ceiling"]
    assert roles[-7:] == [*ceilings, "floor", "floor", "floor", "always on (chance)"]
    known = {row["name"]: row for row in rows}
    for _, what, l0, coverage, above, *_ in lines:
        if what in ("linear probe", "MLP neurons", "residual channels"):
            row = known[what]
            interval = f"[{row['coverage_low']:.3f},\N{NO-BREAK SPACE}{row['coverage_high']:.3f}]"
            assert (l0, coverage) == ("", f"{row['coverage']:.3f} {interval}")
            assert above == f"{row['coverage_above_chance']:.3f}"
    assert "random-GPT SAE: topk, 32 latents, k = 6, 0.004M activations" in [what for _, what, *_ in lines]


def test_several_hook_points_are_folded_away_under_their_best_scores(rows, study):
    (testbed,) = study.testbeds
    assert "<details>" not in summary(study, rows)
    other = "blocks.0.hook_resid_post"
    assert other != testbed.hook_name
    worse = [{**row, "hook_name": other, "coverage": row["coverage"] / 2} for row in rows]
    both = summary(replace(study, testbeds=(replace(testbed, hook_name=other), testbed)), [*worse, *rows])
    assert both.count("Its most probable move") == 1
    best = max(row["coverage"] for row in single(rows))
    titles = re.findall(r"<details><summary>(.*?)</summary>", both)
    found = [f"best coverage {value:.3f}" in title for value, title in zip((best / 2, best), titles, strict=True)]
    assert found == [True, True]


def test_a_testbed_without_scores_of_saes_says_so(rows, study):
    assert "No SAE was scored at " in summary(study, [row for row in rows if row["kind"] != "sae"])


def test_legality_stands_in_a_table(study):
    legality, table = read_json(study.model / "legality.json"), legality_table(study)
    assert '<th scope="col">legal</th><th scope="col">illegal</th>' in table
    for moves in legality["test"]["kinds"].values():
        assert f"<td>{moves['legal']:.2%}</td><td>{moves['illegal']:.2%}</td>" in table


def test_every_probe_stands_in_a_table(study):
    points, table = read_json(study.probes[0] / "probes.json")["hook_points"], probe_table(study)
    assert f"<td>{max(point['accuracy'] for point in points.values()):.2%}</td>" in table
    assert "board, at each ply" in table
