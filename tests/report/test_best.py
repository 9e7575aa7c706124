"""The best SAE and the best of each kind of baseline, against the numbers in their files."""

from boardgame_sae.files import read_json
from boardgame_sae.report.best import best_by_kind, best_row, best_sae, best_saes
from boardgame_sae.report.rows import rows_of


def test_the_best_sae_is_that_of_highest_coverage(study):
    best = best_sae(study.testbeds[0])
    files = [read_json(folder / "scores.json") for folder in study.testbeds[0].score_folders]
    saes = {
        file["subject"]["name"]: file["scores"]["coverage"]["value"]
        for file in files
        if file["subject"]["kind"] == "sae"
    }
    assert best is not None
    assert best["coverage"].value == max(saes.values()) == saes[best.subject["name"]]


def test_of_seeds_only_the_best_is_among_the_best_saes(study):
    ranked = best_saes(study.testbeds[0])
    values = [one.scores["coverage"].value for one in ranked]
    assert len(ranked) == 3 and values == sorted(values, reverse=True), "four SAEs, of which two are seeds of one"
    for one in ranked:
        assert read_json(one.folder / "scores.json")["subject"]["name"] == one.scores.subject["name"]


def test_the_best_of_each_kind_stands_for_it(study):
    rows = rows_of([study])
    best = best_by_kind(rows)
    assert list(best) == ["sae", "random_gpt_sae", "sparse_probe", "probe", "probe_sae", "neurons", "residual"]
    assert best["sae"] == best_row(rows, "coverage") and best["sae"]["n_seeds"] == 1
    sparse = [row["l0"] for row in rows if row["kind"] == "sparse_probe"]
    assert best["sparse_probe"]["l0"] == round(best["sae"]["l0"]) in sparse


def test_the_ceiling_of_nearly_the_same_l0_is_nearest_by_ratio(study):
    rows = rows_of([study])
    sae = {**best_row(rows, "coverage"), "l0": 10.0}
    probe = next(row for row in rows if row["kind"] == "sparse_probe")
    probes = [{**probe, "l0": l0} for l0 in (5.0, 14.0, 40.0)]
    assert best_by_kind([sae, *probes])["sparse_probe"]["l0"] == 14.0
    assert best_by_kind(probes) == {"sparse_probe": probes[0]}
