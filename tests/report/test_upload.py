"""One file of scores: what it holds, that it merges with anything, and that no change of it goes unnoticed."""

import contextlib
import json
import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import boardgame_sae as bgs
from boardgame_sae import __version__
from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.score_file import Row, identity_of, read_score_file, without_folders, write_score_file
from boardgame_sae.pipeline.sources import read_sources
from boardgame_sae.pipeline.study_folder import Scored
from boardgame_sae.pipeline.upload import upload_ready
from boardgame_sae.report.rows import collect
from boardgame_sae.testbeds.testbed import load_testbed


@pytest.fixture(scope="module")
def mine(study):
    """Scores of an object that is nobody's SAE."""
    listed = study.testbeds[0]
    sae = bgs.load_sae(listed.saes[0])
    latents = type("Object", (), {"encode": sae.encode, "decode": sae.decode, "W_dec": sae.W_dec})()
    return bgs.evaluate(latents, load_testbed(listed.folder, "cpu"), suite="supervised", name="mine")


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    """The file of everything that the sweep lists."""
    return upload_ready(sweep, out=tmp_path_factory.mktemp("upload") / "whole.parquet").path


def names_of(study):
    """What the subjects of a study are called, in order."""
    return [one.scores.subject["name"] for one in study.testbeds[0].subjects]


def rows_in(path, select="* EXCLUDE (sums)"):
    """The rows of a file as anyone reads them."""
    with duckdb.connect(":memory:") as database:
        found = database.execute(f"SELECT {select} FROM '{path}'")
        columns = [about[0] for about in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def changed(scores, **subject):
    return Scores({**scores.subject, **subject}, scores)


def test_the_file_gives_the_table_of_its_sources(sweep, mine, whole, tmp_path):
    assert collect([whole]) == collect([sweep]), "pooled seeds and their intervals too"
    both = upload_ready(sweep, mine, out=tmp_path / "both.parquet").path
    assert collect([both]) == collect([sweep, mine])
    again = upload_ready(both, out=tmp_path / "again.parquet").path
    assert collect([again]) == collect([both])
    names = [f"othello6-tiny/{name}" for name in ("topk-16", "random-gpt-batch_topk-32", "probe-16", "neurons")]
    shipped = upload_ready(names, out=tmp_path / "shipped.parquet").path
    assert collect([shipped]) == collect(names)


def test_the_same_sources_give_the_same_bytes(sweep, whole, tmp_path):
    assert upload_ready(sweep, out=tmp_path / "again").path.read_bytes() == whole.read_bytes()


def test_files_merge_with_their_sources_and_with_one_another(sweep, study, mine, whole, tmp_path):
    table = collect([sweep])
    assert collect([sweep, whole]) == table == collect([whole, sweep]), "what both hold is one row"
    first, second = study.testbeds[0].score_folders[:2]
    one = upload_ready(first, mine, out=tmp_path / "one.parquet").path
    two = upload_ready(second, first, out=tmp_path / "two.parquet").path
    names = [row["name"] for row in collect([one, two]) if row["n_seeds"] == 1]
    assert sorted(names) == sorted(["mine", *names_of(study)[:2]])
    assert len(collect([sweep, one])) == len(table) + 1, "the sweep lists all but mine"
    assert len(collect([mine, one, one])) == 2


def test_each_subject_has_its_exact_configuration(sweep, study, whole):
    about = rows_in(whole)[0]
    sae = bgs.load_sae(study.testbeds[0].saes[0])
    training, subject = json.loads(about["training"]), json.loads(about["subject"])
    assert training == {**sae.metadata, "trained_as": sae.trained_as} and training["training"]["n_activations"] == 4000
    assert subject["sae"]["k"] == sae.trained_as["k"] and about["name"] == names_of(study)[0] == subject["name"]
    assert about["package"] == __version__ and about["own"] is False and about["study"] == "tiny"
    back = read_score_file(whole)[0]
    listed = Scores.load(study.testbeds[0].score_folders[0])
    assert back.scores.subject == listed.subject and about["identity"] == identity_of(listed.subject)
    for name, value in listed.items():
        assert back.scores[name].plain() == value.plain() | {"intervals": value.intervals}, name


def test_nothing_of_the_machine_is_in_it(sweep, mine, tmp_path):
    told = changed(mine, skipped={"edit": f"{tmp_path}/runs/probes/x.json: no such file; C:\\Users\\me\\x.json"})
    path = upload_ready(sweep, told, out=tmp_path / "f.parquet").path
    text = str(rows_in(path))
    assert str(tmp_path) not in text and str(sweep.parent.parent) not in text and "Users" not in text
    assert "x.json: no such file" in text
    assert not re.search(r"['\" ]/\w", text)


def test_paths_are_cut_and_all_else_stays():
    plain = {
        "a": ["/srv/me/runs/x.json", "see /a/b/c, or d/e/f"],
        "b": {"c": 1.5, "d": None, "e": "https://x.org/a/b"},
    }
    cut = {"a": ["x.json", "see c, or d/e/f"], "b": plain["b"]}
    assert without_folders(plain) == cut


def test_a_newer_version_of_a_score_replaces_an_older_one_and_others_are_added(sweep, mine, tmp_path):
    def file(name, **versions):
        values = {
            score: mine[score]._replace(version=version, value=version / 10) for score, version in versions.items()
        }
        return upload_ready(Scores(mine.subject, values), out=tmp_path / name).path

    old, new = file("old", coverage=1, core=2), file("new", coverage=3, board_reconstruction=1)
    for sources in ([old, new], [new, old]):
        (row,) = collect(sources)
        assert (row["coverage"], row["core"], row["board_reconstruction"]) == (0.3, 0.2, 0.1)
    listed = changed(mine)
    names = [row["name"] for row in collect([listed, new]) if row["own"]]
    assert names == ["mine", "mine (2)"], "what was given itself stays as it is, and the newer stands beside it"


def test_subjects_are_told_apart_by_what_they_are(mine):
    testbed = mine.subject["testbed"]
    same = identity_of(mine.subject)
    assert identity_of({**mine.subject, "skipped": {"x": "y"}, "testbed": {**testbed, "game": "else"}}) == same
    for other in (
        {"kind": "twin"}, {"k": 3}, {"content": "x"}, {"name": "yours"}, {"l0": 0.5},
        {"testbed": {**testbed, "hook_name": "embed"}}, {"testbed": {**testbed, "n_games": 7}},
        {"testbed": {**testbed, "content": {"corpus": "x", "model": "y"}}},
        {"testbed": {**testbed, "properties": ["else"]}}, {"testbed": {**testbed, "positions": "token"}},
    ):  # fmt: skip
        assert identity_of({**mine.subject, **other}) != same, other


def test_it_is_compared_plotted_and_reported(sweep, study, mine, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    first, second = names_of(study)[:2]
    found = bgs.compare(f"{whole}/{first}", mine)
    assert found and all(abs(one.difference) < 1e-12 for one in found), "they are the same SAE"
    direct = bgs.compare(study.testbeds[0].score_folders[0], study.testbeds[0].score_folders[1])
    assert bgs.compare(f"{whole}/{first}", f"{whole}/{second}") == direct
    assert main(["compare", f"{whole}/{first}", "--against", f"{whole}/{second}"]) == 0
    assert main(["compare", str(whole), "--against", f"{whole}/{second}"]) == 2
    assert re.search(r"holds \d+ subjects; name one of them, such as .*whole\.parquet/\S+", capsys.readouterr().err)
    assert bgs.plot(whole, mine).axes
    assert main(["report", str(whole), "--out", str(tmp_path / "report"), "--device", "cpu"]) == 0
    assert f"| {first} |" in (tmp_path / "report" / "table.md").read_text() or (tmp_path / "report/table.csv").exists()
    with pytest.raises(RunError, match=r"whole\.parquet: holds no scores of 'nothing'; it has"):
        collect([f"{whole}/nothing"])


def test_without_sums_it_is_smaller_and_compare_says_what_is_missing(sweep, study, whole, tmp_path):
    small = upload_ready(sweep, out=tmp_path / "small.parquet", sums=False).path
    assert small.stat().st_size < whole.stat().st_size
    singles = [row for row in collect([sweep]) if not (row["n_seeds"] or 1) > 1]
    assert [row | {"pooled_as": None} for row in collect([small])] == [row | {"pooled_as": None} for row in singles]
    names = names_of(study)[:2]
    with pytest.raises(ValueError, match="no sums over games"):
        bgs.compare(*(f"{small}/{name}" for name in names))


def rewritten(path, out, query):
    """A copy of a file with its table changed and its own metadata as they were."""
    with duckdb.connect(":memory:") as database:
        pairs = database.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(path)]).fetchall()
        about = ", ".join(f"{key.decode()}: '{value.decode()}'" for key, value in pairs)
        database.execute(f"CREATE TABLE t AS SELECT * FROM '{path}'")
        database.execute(query)
        database.execute(f"COPY t TO '{out}' (FORMAT parquet, KV_METADATA {{{about}}})")
    return out


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("UPDATE t SET scores = replace(scores, '\"value\":0.', '\"value\":1.')", r"row 1 \('\S+'\) was changed"),
        ("UPDATE t SET name = 'better'", r"row 1 \('better'\) was changed"),
        ("UPDATE t SET own = NOT own", "row 1 .* was changed"),
        ("UPDATE t SET sums = []", "row 1 .* was changed"),
        ("UPDATE t SET package = '9'", "row 1 .* was changed"),
        ("DELETE FROM t WHERE kind <> 'sae'", "rows were added, removed or exchanged"),
        ("INSERT INTO t SELECT * FROM t LIMIT 1", "rows were added, removed or exchanged"),
        ("ALTER TABLE t DROP COLUMN scores", r"damaged \(.*scores"),
        ("ALTER TABLE t ALTER COLUMN own TYPE VARCHAR", "row 1 .* was changed"),
        ("UPDATE t SET hash = NULL", "row 1 .* was changed"),
    ],
)
def test_no_change_goes_unnoticed(whole, tmp_path, query, message):
    assert collect([rewritten(whole, tmp_path / "same.parquet", "SELECT 1")]) == collect([whole])
    with pytest.raises(RunError, match=rf"other\.parquet: {message}"):
        collect([rewritten(whole, tmp_path / "other.parquet", query)])


@settings(max_examples=30)
@given(st.data())
def test_a_spoilt_file_is_refused_or_unchanged(whole, tmp_path_factory, data):
    whole_bytes, place = whole.read_bytes(), data.draw(st.integers(0, whole.stat().st_size - 1))
    spoilt = data.draw(
        st.sampled_from([
            whole_bytes[:place],
            whole_bytes[:place] + bytes([whole_bytes[place] ^ 0xFF]) + whole_bytes[place + 1 :],
        ])
    )  # fmt: skip
    path = tmp_path_factory.mktemp("spoilt") / "f.parquet"
    path.write_bytes(spoilt)
    with contextlib.suppress(RunError):  # anything else would be a traceback
        contents = [one.scores.content for one in read_score_file(path)]
        assert contents == [one.scores.content for one in read_score_file(whole)]


def test_foreign_files_are_named(tmp_path, whole):
    foreign = tmp_path / "table.parquet"
    with duckdb.connect(":memory:") as database:
        database.execute(f"COPY (SELECT 1 AS x) TO '{foreign}' (FORMAT parquet)")
    with pytest.raises(RunError, match=r"table\.parquet: a Parquet file of something else"):
        collect([foreign])
    newer = tmp_path / "newer.parquet"
    with duckdb.connect(":memory:") as database:
        about = "format: 'boardgame_sae scores', version: '99', package: '7.0'"
        database.execute(f"COPY (SELECT 1 AS x) TO '{newer}' (FORMAT parquet, KV_METADATA {{{about}}})")
    with pytest.raises(RunError, match=r"newer\.parquet: of version '99'.*written by boardgame_sae '7\.0'"):
        collect([newer])
    for data in (b"", b"PAR1", b"not json"):
        (tmp_path / "other").write_bytes(data)
        with pytest.raises(RunError, match="other"):
            collect([tmp_path / "other"])


def test_the_verb(sweep, mine, tmp_path, monkeypatch, capsys):
    mine.save(tmp_path / "mine")
    out = tmp_path / "deep" / "scores.parquet"
    assert main(["results", "upload-ready", str(sweep), str(tmp_path / "mine"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(out) and re.match(r"\d+ subjects of tiny, ", printed[-2])
    assert collect([out]) == collect([sweep, tmp_path / "mine"])
    for words in ([], ["upload-ready"], ["upload-ready", str(sweep)], ["download", str(sweep), "--out", str(out)]):
        with_code = _code(["results", *words])
        assert with_code == 2, words
    assert _code(["results", "upload-ready", "nowhere", "--out", str(out)]) in (1, 2)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_verb_writes_a_table_with_a_row_for_each_subject(sweep, mine, tmp_path, capsys, suffix):
    mine.save(tmp_path / "mine")
    words, out = ["results", "table", str(sweep), str(tmp_path / "mine"), "--out"], tmp_path / f"table.{suffix}"
    assert main([*words, str(out)]) == 0
    rows = collect([sweep, tmp_path / "mine"])
    assert f"{len(rows)} rows of {len(rows[0])} columns" in capsys.readouterr().out
    with duckdb.connect(":memory:") as database:
        read = "read_csv" if suffix == "csv" else "read_parquet"
        found = database.execute(f"SELECT name, l0, coverage FROM {read}('{out}')").fetchall()
    assert found == [(row["name"], row["l0"], row["coverage"]) for row in rows]
    assert _code([*words, str(tmp_path / "table.txt")]) == 2
    assert "name it" in capsys.readouterr().err and not (tmp_path / "table.txt").exists()


def _code(words):
    try:
        return main(words)
    except SystemExit as left:
        return left.code


def test_a_name_that_two_subjects_have_is_refused(mine, tmp_path):
    other = changed(mine, l0=0.25)
    path = upload_ready(mine, out=tmp_path / "a.parquet").path
    assert [row["name"] for row in collect([f"{path}/mine"])] == ["mine"]
    both = upload_ready(
        mine, changed(other, testbed={**other.subject["testbed"], "n_games": 7}), out=tmp_path / "b"
    ).path
    with pytest.raises(RunError, match="holds 2 subjects called 'mine'"):
        collect([f"{both}/mine"])
    with pytest.raises(ConfigError, match="holds 2 subjects; name one of them"):
        bgs.compare(both, mine)


def test_another_testbed_of_a_shipped_ones_name_is_not_taken_for_it(tmp_path):
    path = upload_ready("othello6-tiny/topk-16", out=tmp_path / "a.parquet").path
    (study,) = read_sources([path])
    assert study.label == "othello6-tiny" and study.model is not None
    one = study.testbeds[0].added[0].scores
    elsewhere = changed(one, testbed={**one.subject["testbed"], "content": {"corpus": "x", "model": "y"}})
    write_score_file(tmp_path / "b.parquet", [Row("othello6-tiny", Scored(elsewhere))])
    (apart,) = read_sources([tmp_path / "b.parquet"])
    assert apart.label.startswith("othello6-tiny (") and apart.model is None


def test_a_file_that_is_named_as_one_of_another_kind_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"scores\.csv: the file is Parquet; name it .*scores\.parquet"):
        upload_ready("no such source", out=tmp_path / "scores.csv")
    assert not list(tmp_path.iterdir())
