import csv
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from boardgame_sae import cli
from boardgame_sae.config import ConfigError, config
from boardgame_sae.files import file_hash
from boardgame_sae.studies import study as module
from boardgame_sae.studies.study import (
    Plan,
    StudyConfig,
    find_study,
    studies,
    study_run,
    write_tables,
)


@config
class CountingStudy(StudyConfig):
    """How far is counted."""

    n: int = 4


@pytest.fixture
def counting(monkeypatch):
    """A registered study whose rows count, and the rows that were computed."""
    computed = []

    def row(number):
        computed.append(number)
        if number == 2 and computed.count(2) == 1:
            raise KeyboardInterrupt
        return {"number": number, "half": number / 2, "half_low": 0.0, "half_high": 9.0, "list": [number]}

    def plan(cfg, setting):
        rows = [lambda number=number: row(number) for number in range(cfg.n)]
        return Plan(rows, {"number": "n", "half": "half [95%]"}, lambda rows: Figure())

    monkeypatch.setitem(module._STUDIES._known, "counting", module.Study("counting", CountingStudy, plan, lambda _: ()))
    return computed


def test_the_studies_register_themselves():
    assert {"finetune", "stitching", "meta_sae", "probing_regimes", "shift"} <= set(studies())
    assert all(each.summary.endswith("?") for each in studies().values())
    with pytest.raises(ConfigError, match="unknown study 'finetun'; did you mean 'finetune'"):
        find_study("finetun")


def test_a_killed_study_goes_on_after_its_last_row_and_ends_with_the_same_bytes(counting, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study_run("counting", CountingStudy(), out=tmp_path / "killed")
    study_run("counting", CountingStudy(), out=tmp_path / "killed")
    assert counting == [0, 1, 2, 2, 3]
    whole = study_run("counting", CountingStudy(), out=tmp_path / "whole", copy_to=tmp_path / "results")
    for name in ("metrics.jsonl", "table.md", "table.csv", "figure.png", "DONE"):
        assert file_hash(whole / name) == file_hash(tmp_path / "killed" / name), name
    assert (tmp_path / "results/table.md").read_text().splitlines()[3] == "| 1 | 0.500 [0.000, 9.000] |"
    with open(whole / "table.csv", newline="") as file:
        assert [row["half"] for row in csv.DictReader(file)] == ["0.0", "0.5", "1.0", "1.5"]
    n = len(counting)
    study_run("counting", CountingStudy(), out=tmp_path / "whole")
    assert len(counting) == n


def test_a_study_of_a_newer_version_has_a_run_of_its_own(counting, monkeypatch, tmp_path):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    counting.extend([2])  # no kill
    first = study_run("counting", CountingStudy())
    known = module._STUDIES._known
    monkeypatch.setitem(known, "counting", replace(known["counting"], version=2))
    assert study_run("counting", CountingStudy()) != first and counting.count(0) == 2


def test_the_verb_reads_the_studys_yaml_and_refuses_what_is_wrong_with_it(counting, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counting.extend([2])  # no kill
    folder = tmp_path / "experiments/counting"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("n: 2\n")
    assert cli.main(["study", "counting", "--out", "out", "--results", "copies"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "out" and (tmp_path / "copies/figure.png").exists()
    for text, said in (("n: x", "field 'n' is 'x'"), ("m: 3", "unknown field 'm'"), ("[]", "holds a list")):
        (folder / "study.yaml").write_text(text)
        assert cli.main(["study", "counting"]) == 2
        assert said in (err := capsys.readouterr().err) and "experiments/counting/study.yaml" in err
    assert cli.main(["study", "countin"]) == 2 and "did you mean 'counting'" in capsys.readouterr().err
    (folder / "study.yaml").write_text("testbed: nowhere")
    assert cli.main(["study", "counting"]) == 1 and "no shipped testbed" in capsys.readouterr().err


def test_without_the_studys_yaml_as_outside_a_clone_it_runs_as_by_default(counting, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counting.extend([2])  # no kill
    assert cli.main(["study", "counting", "--out", "out"]) == 0
    assert "experiments/counting/study.yaml is not here" in capsys.readouterr().out
    with open("out/table.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == CountingStudy().n
    assert cli.main(["study", "counting", "--config", "mine.yaml"]) == 2 and "mine.yaml" in capsys.readouterr().err


def test_totals_stand_below_the_rows_in_both_tables(tmp_path):
    rows = [{"name": "a", "n": 1.0}, {"name": "b", "n": 3.0}]
    plan = Plan((), {"name": "name", "n": "n"}, lambda _: Figure(), lambda rows: [{"name": "all", "n": len(rows)}])
    write_tables(tmp_path, rows, plan)
    assert (tmp_path / "table.md").read_text().splitlines()[2:] == ["| a | 1.000 |", "| b | 3.000 |", "| all | 2 |"]
    assert (tmp_path / "table.csv").read_text().splitlines()[1:] == ["a,1.0", "b,3.0", "all,2"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("finetune", "variants: [{how: half}]", "unknown way to fine-tune 'half'"),
        ("finetune", "variants: [{loss: ce}]", "field 'variants.0.loss' is 'ce'"),
        ("finetune", "seeds: []", "need at least one entry"),
        ("shift", "seeds: []", "seeds"),
        ("finetune", "suite: some", "field 'suite' is 'some': must be one of quick"),
        ("finetune", "saes: [othello6-tiny/none]", "has no SAE 'none'"),
        ("stitching", "saes: [{architecture: topp}]", "did you mean 'topk'"),
        ("stitching", "threshold: 2", "must be at most 1"),
        ("meta_sae", "training: {steps: 3}", "training.steps"),
        ("probing_regimes", "shifts: [rules]", "field 'shifts.0' is 'rules'"),
        ("probing_regimes", "player: nobody", "unknown player 'nobody'"),
        ("probing_regimes", "saes: [othello6-tiny/none]", "has no SAE 'none'"),
        ("shift", "pairs: {n_pair: 3}", "pairs.n_pair"),
        ("shift", "saes: [othello6-tiny/none]", "has no SAE 'none'"),
        ("whole_model", "saes: []", "need at least one entry"),
        ("whole_model", "sites: [hook_nowhere]", "no hook point 'blocks.0.hook_nowhere'"),
        ("whole_model", "layers: [99]", "no hook point 'blocks.99.hook_resid_post'"),
        ("whole_model", "saes: [{architecture: topk, k: 4, n_latents: []}]", "an empty list makes no SAE"),
        ("variants", "world: {games: [othello6, othelo6]}", "did you mean 'othello6'"),
        ("variants", "world: {games: [othello6]}", "give two or more, each once"),
        ("variants", "world: {games: [othello6, chess]}", "chess has other moves than othello6"),
        ("variants", "sae: {k: 4}", "sae.0: needs an architecture"),
    ],
)
def test_bad_fields_of_the_shipped_studies_are_refused_before_anything_runs(tmp_path, capsys, name, text, said):
    (tmp_path / "study.yaml").write_text(text)
    assert cli.main(["study", name, "--config", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]) in (1, 2)
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()
