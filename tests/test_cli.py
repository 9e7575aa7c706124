"""The commands: exit codes 0, 1 and 2, messages that name the file and the fix, and no torch for a help text."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from sealed import seal_again

from boardgame_sae import cli
from boardgame_sae.cli.endings import Terminated
from boardgame_sae.cli.flags import verb
from boardgame_sae.config import Flags
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.registry import declared
from boardgame_sae.saes.configs.described import described
from boardgame_sae.saes.finetuning.ways.way import ways
from boardgame_sae.saes.registry import architectures, config_class, summary
from boardgame_sae.studies.study import studies
from boardgame_sae.transcripts import generate as generate_module
from boardgame_sae.transcripts.corpus import Corpus

SMALL = ["--game", "othello4", "--n-games", "30"]


@pytest.fixture
def run(capsys):
    """Run a command line in this process: (exit code, standard output, standard error)."""

    def call(*argv):
        try:
            code = cli.main([str(word) for word in argv])
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(run):
    """Run a command line that must be refused as bad input: what it says."""

    def call(*argv):
        code, out, err = run(*argv)
        assert code == 2 and out == ""
        return err

    return call


@pytest.fixture
def finished(tiny_corpus, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(tiny_corpus.path.parent, tmp_path / "finished")


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb(run, argv):
    code, out, err = run(*argv)
    assert code == 0 and err == ""
    assert all(f"\n  {name} " in out and verb.summary in out for name, verb in cli.verbs().items())


def test_help_lists_verbs_in_the_order_of_a_study(run):
    listed = [line.split()[0] for line in run("--help")[1].splitlines()[2:]]
    assert listed == [
        "generate", "import-pgn", "import-games", "annotate", "tournament", "train-gpt", "testbed", "probe",
        "train-sae", "finetune-sae", "sweep", "study", "pack", "score", "judge", "latent", "compare", "edit", "steer",
        "report", "results", "ls", "check", "export", "import", "completion",
    ]  # fmt: skip


def test_a_verb_that_is_taken_is_refused():
    cli.verbs()
    with pytest.raises(ValueError, match="there already is a verb 'generate'"):
        verb("generate", 5)(lambda argv: None)


def test_help_imports_neither_torch_nor_numba():
    script = "import sys; from boardgame_sae.cli import main; code = main(['--help']); print(sorted(sys.modules), code)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]
    assert "'boardgame_sae.cli'" in modules and modules.endswith("] 0")
    assert not any(f"'{name}'" in modules for name in ("torch", "numba", "h5py", "sklearn", "transformer_lens"))


def test_no_verbs_help_imports_torch():
    """Nor another library that takes seconds, whatever the architecture whose flags are shown."""
    script = """
import sys
from boardgame_sae.cli import main, verbs
from boardgame_sae.saes.configs.described import described

lines = [[name] for name in verbs()] + [["train-sae", "--architecture", name] for name in described()]
for words in lines:
    assert main([*words, "--help"]) == 0, words
    slow = {"torch", "sklearn", "matplotlib", "plotly", "duckdb", "transformers"} & set(sys.modules)
    assert not slow, (words, slow)
"""
    subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)


def test_what_help_lists_is_what_is_registered():
    assert described() == {name: (config_class(name), summary(name)) for name in architectures()}
    for package, decorator, known in (
        ("boardgame_sae.studies", "study", studies()),
        ("boardgame_sae.saes.finetuning.ways", "way", ways()),
    ):
        listed = {each.argument: each.summary for each in declared(package, decorator)}
        assert listed == {name: thing.summary for name, thing in known.items()}


def test_the_module_is_a_program_whose_exit_code_is_mains():
    command = [sys.executable, "-m", "boardgame_sae.cli", "fly"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "unknown verb 'fly'" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("verb", ["generate", "train-gpt"])
def test_a_verbs_help_shows_its_flags_with_what_they_mean(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    words = " ".join(out.replace("│", " ").split())
    for flag in {"generate": ("--n-games", "--workers", "--out"), "train-gpt": ("--n-steps", "--preset", "--device")}[
        verb
    ]:
        assert flag in words
    assert {"generate": "Games to play.", "train-gpt": "Width of the residual stream."}[verb] in words
    assert "Example: boardgame-sae" in words


@pytest.mark.parametrize("name", architectures())
def test_help_of_train_sae_lists_the_architectures_and_explains_every_flag_of_the_one_chosen(run, name):
    code, out, _ = run("train-sae", "--architecture", name, "--help")
    assert code == 0
    assert all(re.search(rf"\n  {other} +\S.*\.\n", out) for other in architectures())
    words = " ".join(out.replace("│", " ").split())
    own = Flags(config_class(name), fixed={"architecture": name, "d_model": 1})
    for field in own.fields():
        assert f"--{field.name.replace('_', '-')} " in words or f"--{field.name.replace('_', '-')}, " in words
        assert own.help(field) and own.help(field) in words, field.name


def test_help_says_what_no_value_means_and_shows_no_none(run):
    out = run("testbed", "--help")[1]
    assert "--hook-name STR" in out and "(default: that of --sae" in out and "None" not in out


def test_an_unknown_verb_is_bad_input_and_names_the_closest_or_all(run):
    code, out, err = run("fly")
    assert code == 2 and out == "" and "unknown verb 'fly'" in err and "generate" in err
    assert run("swep") == (2, "", "error: unknown verb 'swep'; did you mean 'sweep'?\n")


def test_generate_plays_a_corpus_and_prints_its_folder(run, tmp_path):
    code, out, _ = run(
        "generate", *SMALL, "--players", "random", "epsilon_greedy:epsilon=0.5", "--out", tmp_path / "run"
    )
    assert code == 0 and out.splitlines()[-1] == str(tmp_path / "run")
    corpus = Corpus.open(tmp_path / "run")
    assert len(corpus) == 30 and corpus.config["players"] == ["random", "epsilon_greedy:epsilon=0.5"]


def test_without_out_the_folder_is_a_hashed_one_and_the_same_command_gives_it_again(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    folders = {run("generate", *SMALL)[1] for _ in range(2)}
    assert len(folders) == 1 and folders.pop().startswith(f"{tmp_path}/corpus/othello4-")


def test_fields_come_from_a_file_and_a_flag_wins_over_it(run, tmp_path):
    path = tmp_path / "games.yaml"
    path.write_text("game: othello4\nn_games: 20\nseed: 7\nplayers: ['epsilon_greedy:epsilon=0.5']\nworkers: 1\n")
    for words in (["--config", path, "--n-games", "10"], ["--n-games=10", f"--config={path}"]):
        out = tmp_path / str(len(words))
        assert run("generate", *words, "--out", out)[0] == 0
        found = Corpus.open(out).config
        assert (found["n_games"], found["seed"], found["players"]) == (10, 7, ["epsilon_greedy:epsilon=0.5"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--game", "othelo"], "unknown game 'othelo'; did you mean 'othello'"),
        (["--players", "radnom"], "unknown player 'radnom'"),
        (["--n-games", "0"], "field 'n_games' is 0: must be at least 1"),
        (["--n-games", "many"], "n-games"),
        (["--n-gmaes", "3"], "n-gmaes"),
        (["--tokenization", "word"], "word"),
        (["--workers", "0"], "field 'workers' is 0: must be at least 1"),
        (["--config"], "--config needs a value"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read as a config"),
    ],
)
def test_bad_flags_are_bad_input_and_make_no_folder(refused, tmp_path, argv, said):
    err = refused("generate", "--game", "othello4", "--out", tmp_path / "run", *argv)
    assert said in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n_gmaes: 3", "unknown field 'n_gmaes'; did you mean 'n_games'?"),
        ("n_games: '3'", "field 'n_games' is '3'"),
        ("n_games: [", "not valid YAML"),
        ("- n_games", "holds a list"),
        ("3: 4", "unknown field '3'"),
    ],
)
def test_a_bad_file_is_bad_input_and_named(refused, tmp_path, text, said):
    path = tmp_path / "games.yaml"
    path.write_text(text)
    err = refused("generate", *SMALL, "--out", tmp_path / "run", "--config", path)
    assert f"{path}: {said}" in err and "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_a_failed_run(run, finished):
    code, out, err = run("generate", *SMALL, "--out", finished)
    assert code == 1 and out == "" and err.startswith(f"error: {finished}: holds another run (its config has n_games")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("disk on fire"), 1),
        (MemoryError("too large"), 1),
        (ValueError("bad"), 2),
        (KeyboardInterrupt(), 130),
        (Terminated(signal.SIGTERM), 143),
    ],
)
def test_an_error_becomes_an_exit_code_and_a_line(run, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(generate_module, "generate_run", fail)
    found, out, err = run("generate", *SMALL)
    assert found == code and out == ""
    assert ("it resumes" if isinstance(error, KeyboardInterrupt) else str(error)) in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_ends_programs_ends_a_verb_as_an_interrupt_does(run, monkeypatch, number, code):
    before = signal.signal(number, signal.SIG_DFL)  # nohup ignores one
    monkeypatch.setattr(generate_module, "generate_run", lambda *_, **__: os.kill(os.getpid(), number))
    assert run("generate", *SMALL) == (code, "", "\nterminated; run the same command again, it resumes\n")
    signal.signal(number, before)


def test_a_signal_that_is_to_be_ignored_is(run, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    monkeypatch.setattr(generate_module, "generate_run", lambda *_, **__: os.kill(os.getpid(), signal.SIGHUP))
    assert run("generate", *SMALL)[0] == 0
    signal.signal(signal.SIGHUP, before)


def test_train_gpt_trains_on_a_corpus_and_prints_the_models_folder(run, tiny_corpus, tmp_path):
    shape = ["--n-layers", "1", "--d-model", "8", "--n-heads", "2", "--n-steps", "3", "--muon-lr", "3e-4"]
    words = ["--corpus", tiny_corpus.path.parent, "--device", "cpu", "--out", tmp_path / "gpt", *shape]
    code, out, _ = run("train-gpt", *words)
    assert code == 0 and out.splitlines()[-1] == str(tmp_path / "gpt")
    model = GameModel.load(tmp_path / "gpt", "cpu")
    assert model.card["training"]["muon_lr"] == 3e-4 and model.card["training"]["batch_size"] == 64


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--corpus", "nowhere"], "nowhere: no such corpus"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--n-heads", "3"], "does not divide into 3 heads"),
        (["--n-steps", "0"], "field 'n_steps' is 0: must be at least 1"),
    ],
)
def test_train_gpt_refuses_bad_input(refused, tiny_corpus, tmp_path, argv, said):
    assert said in refused("train-gpt", "--corpus", tiny_corpus.path, "--out", tmp_path / "run", *argv)


def test_train_gpt_needs_a_corpus(refused):
    assert "--corpus" in refused("train-gpt", "--n-steps", "3")


def test_ls_shows_what_is_done_and_what_is_open(run, finished, monkeypatch, tmp_path):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    shutil.copytree(finished, tmp_path / "runs/corpus/one")
    shutil.copytree(finished, tmp_path / "runs/corpus/two")
    (tmp_path / "runs/corpus/two/DONE").unlink()
    code, out, _ = run("ls")
    assert code == 0
    one, two = [line for line in out.splitlines() if line.startswith(("done", "OPEN"))]
    assert one.startswith(f"done  {tmp_path}/runs/corpus/one") and "n_games=600" in one
    assert two.startswith(f"OPEN  {tmp_path}/runs/corpus/two")


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "boardgame_sae.cli", "ls"]
    environment = {**os.environ, "BOARDGAME_SAE_RUNS": str(tmp_path)}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writing)
    assert done.returncode == 1 and done.stderr == b""


def test_check_passes_runs_as_they_were_finished(run, finished, tiny_model, tmp_path):
    code, out, _ = run("check", finished)
    assert code == 0 and "600 games replayed, every move legal" in out and "every file as it was" in out


def test_check_finds_one_changed_byte(run, finished):
    data = bytearray((finished / "corpus.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (finished / "corpus.h5").write_bytes(data)
    code, _, err = run("check", finished)
    assert code == 1 and f"{finished}/corpus.h5: changed since it was written" in err


def test_check_replays_every_move_even_where_the_hashes_fit(run, finished):
    import h5py

    with h5py.File(finished / "corpus.h5", "r+") as file:
        file["moves"][5] = file["moves"][4]
    seal_again(finished)
    code, _, err = run("check", finished)
    assert code == 2 and "illegal move" in err


def test_check_refuses_a_run_that_is_not_finished_and_a_folder_that_is_none(run, finished, tmp_path):
    (finished / "DONE").unlink()
    code, _, err = run("check", finished)
    assert code == 1 and "not finished" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run("check", tmp_path / "empty")
    assert code == 1 and "run.json: no such file" in err


def test_many_saes_are_trained_on_one_stream_and_exchanged(run, refused, tiny_corpus, tmp_path):
    from boardgame_sae.model.train import train_gpt_run
    from boardgame_sae.model.train_config import preset
    from boardgame_sae.saes import load_sae, make_sae
    from boardgame_sae.testbeds.testbed import testbed_run

    small = preset("tiny", n_steps=2, n_layers=1, d_model=16, n_heads=2, batch_size=8)
    gpt = train_gpt_run(tiny_corpus, small, out=tmp_path / "gpt", device="cpu")
    hook = {"hook_name": "blocks.0.hook_resid_post", "n_games": 20, "positions": None}
    bed = testbed_run(gpt, tiny_corpus.path.parent, **hook, out=tmp_path / "bed", device="cpu")
    grid = tmp_path / "saes.yaml"
    grid.write_text(
        "saes:\n- {architecture: batch_topk, n_latents: 24, k: [2, 4]}\n- {architecture: gated, n_latents: 16}\n"
    )
    size = ["--n-activations", 640, "--n-harvested", 640, "--batch-size", 64, "--device", "cpu"]
    code, out, _ = run("train-sae", "--testbed", bed, "--saes", grid, *size, "--out", tmp_path / "many")
    assert code == 0
    folders = [tmp_path / "many" / name for name in ("0-batch_topk-24", "1-batch_topk-24", "2-gated-16")]
    assert out.split() == [str(folder) for folder in folders]
    trained = [load_sae(folder).trained_as for folder in folders]
    assert [(each["architecture"], each.get("k")) for each in trained] == [
        ("batch_topk", 2),
        ("batch_topk", 4),
        ("gated", None),
    ]
    code, out, _ = run("export", folders[0], "--to", "sae_lens", "--out", tmp_path / "theirs")
    assert code == 0 and (tmp_path / "theirs" / "sae_weights.safetensors").exists()
    code, out, _ = run("import", tmp_path / "theirs", "--out", tmp_path / "back")
    assert code == 0 and load_sae(tmp_path / "back").trained_as["architecture"] == "batch_topk"
    assert "an SAE is not for sparsfy" in refused("export", folders[0], "--to", "sparsfy")
    unset = make_sae("batch_topk", d_model=16, n_latents=24, k=2)
    unset.save(tmp_path / "above" / "unset")
    for words in (["import", tmp_path / "above"], ["export", tmp_path / "above", "--to", "sae_lens"]):
        code, _, err = run(*words, "--out", tmp_path / "none")
        assert code == 1 and "its threshold was never set" in err and "--calibrate" in err
    code, _, _ = run("import", tmp_path / "above", "--calibrate", bed, "--out", tmp_path / "set")
    assert code == 0 and load_sae(tmp_path / "set").metadata["calibration"]["k"] == 2
    for text in ("saes: []", "saes: 3", "{}", "saes: [topk]"):
        grid.write_text(text)
        assert "needs `saes`, a list of mappings" in refused("train-sae", "--testbed", bed, "--saes", grid, *size)
    grid.write_text("saes: [{architecture: tpok}]")
    assert "did you mean 'topk'" in refused("train-sae", "--testbed", bed, "--saes", grid, *size)
