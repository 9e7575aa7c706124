"""The same bytes for any number of workers, killed or not; equal games on one side; game i whatever n_games."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.players.play import game_seeds
from boardgame_sae.transcripts import generate as generate_module
from boardgame_sae.transcripts.corpus import SPLITS, Corpus
from boardgame_sae.transcripts.corpus_writer import split_games
from boardgame_sae.transcripts.generate import GenerateConfig, generate, generate_run

N_GAMES = 1000

DRIVER = """
    import resource, sys, time
    from boardgame_sae.files import RunError
    from boardgame_sae.transcripts import generate as module

    module._part_size = lambda cfg: 100
    out, workers, wait, *limits = sys.argv[1:]
    if float(wait):
        play = module.play_games
        module.play_games = lambda *args, **more: (time.sleep(float(wait)), play(*args, **more))[1]

    if __name__ == "__main__":
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        cfg = module.GenerateConfig(game="othello4", n_games=1000, seed=5, validation_fraction=0.2, test_fraction=0.2)
        for limit in limits or [hard]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
            try:
                module.generate_run(cfg, out=out, workers=int(workers))
            except RunError as error:
                print(error)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The command that plays 1000 games in ten parts: (out, workers, seconds a part, largest file of each attempt)."""
    path = tmp_path_factory.mktemp("driver") / "driver.py"
    path.write_text(textwrap.dedent(DRIVER))

    def command(out, workers=1, wait=0.0, limits=()):
        return [sys.executable, path, out, str(workers), str(wait), *map(str, limits)]

    return command


@pytest.fixture(scope="module")
def cfg():
    return GenerateConfig(game="othello4", n_games=N_GAMES, seed=5, validation_fraction=0.2, test_fraction=0.2)


@pytest.fixture(scope="module")
def whole(cfg, tmp_path_factory) -> Path:
    """The run of the driver's games, played here in one part."""
    return generate_run(cfg, out=tmp_path_factory.mktemp("whole") / "run")


def same_bytes(a: Path, b: Path) -> bool:
    """Whether two finished runs are equal, the times aside."""
    files = [
        sorted(p.relative_to(x) for p in x.rglob("*") if p.is_file() and p.name != "timings.jsonl") for x in (a, b)
    ]
    return files[0] == files[1] and all((a / name).read_bytes() == (b / name).read_bytes() for name in files[0])


def test_two_workers_and_small_parts_give_the_bytes_of_one_worker_and_one_part(driver, whole, tmp_path):
    subprocess.run(driver(tmp_path / "run", workers=2), check=True, capture_output=True)
    assert same_bytes(tmp_path / "run", whole)


def test_a_killed_run_resumes_to_the_same_bytes_without_playing_finished_parts_again(
    driver, whole, cfg, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    with subprocess.Popen(
        driver(out, workers=2, wait=0.1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as player:
        while len(list(out.glob("parts/*.safetensors"))) < 3:
            assert player.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        player.kill()
    assert not (out / "DONE").exists() and not (out / "corpus.h5").exists()
    monkeypatch.setattr(generate_module, "_part_size", lambda cfg: 100)
    played, play = [], generate_module.play_games
    monkeypatch.setattr(
        generate_module,
        "play_games",
        lambda game, both, seeds, **more: (played.append(len(seeds)), play(game, both, seeds, **more))[1],
    )
    generate_run(cfg, out=out)
    assert same_bytes(out, whole)
    assert set(played) == {100} and len(played) <= 7


def test_a_run_killed_while_it_binds_its_parts_resumes_to_the_same_bytes(whole, cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(generate_module, "_part_size", lambda cfg: 300)
    real = Path.unlink

    def kill(path, *args, **more):
        if path.name == "000001.safetensors":
            raise KeyboardInterrupt
        real(path, *args, **more)

    monkeypatch.setattr(Path, "unlink", kill)
    with pytest.raises(KeyboardInterrupt):
        generate_run(cfg, out=tmp_path / "run")
    monkeypatch.setattr(Path, "unlink", real)
    generate_run(cfg, out=tmp_path / "run")
    assert same_bytes(tmp_path / "run", whole)


@pytest.mark.parametrize("change", ["lengths", "temperatures", "moves", "truncated"])
def test_a_part_of_another_version_or_damaged_is_named_with_how_to_begin_again(
    whole, cfg, tmp_path, monkeypatch, change
):
    parts, play = tmp_path / "run/parts", generate_module._play_part

    def spoilt(job):
        n, path = play(job), Path(job[2])
        arrays = load_file(path)
        cut = {change: arrays[change][1:]} if change == "moves" else {}
        save_file({name: array for name, array in {**arrays, **cut}.items() if name != change or cut}, path)
        path.write_bytes(path.read_bytes()[: -1 if change == "truncated" else None])
        return n

    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "_play_part", spoilt)
        with pytest.raises(
            RunError, match=rf"000000\.safetensors: .*damaged.*; remove {parts} and run the same command"
        ):
            generate_run(cfg, out=tmp_path / "run")
    shutil.rmtree(parts)
    assert same_bytes(generate_run(cfg, out=tmp_path / "run"), whole)


def test_a_finished_run_is_not_played_again(whole, cfg, monkeypatch):
    monkeypatch.setattr(generate_module, "play_games", None)
    assert generate_run(cfg, out=whole) == whole


def test_a_full_disk_names_the_file_and_keeps_the_finished_parts(driver, whole, cfg, tmp_path, monkeypatch):
    out = tmp_path / "run"  # a part has about 3,000 bytes, the corpus 70,000
    done = subprocess.run(driver(out, limits=[1000, 20_000]), check=True, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{out}/parts/000000.safetensors: cannot be written, the disk is full")
    assert second.startswith(f"{out}/corpus.h5: cannot be written, the disk is full")
    assert "make room and run the same command again" in first and "make room" in second
    assert sorted(path.name for path in out.iterdir()) == ["parts", "run.json"]
    assert sorted(path.name for path in (out / "parts").iterdir()) == [f"{n:06}.safetensors" for n in range(10)]
    monkeypatch.setattr(generate_module, "_part_size", lambda cfg: 100)
    monkeypatch.setattr(generate_module, "play_games", None)
    assert same_bytes(generate_run(cfg, out=out), whole)


def texts(corpus: Corpus) -> list[str]:
    return corpus.game.texts(corpus.record(np.arange(len(corpus))))


def test_game_i_is_the_same_however_many_are_played(tmp_path, tiny_corpus, monkeypatch):
    monkeypatch.setattr(generate_module, "_part_size", lambda cfg: 7)
    few = generate("othello4", n_games=50, validation_fraction=0.2, test_fraction=0.2, out=tmp_path / "few")
    assert texts(few) == texts(tiny_corpus)[:50]
    assert np.array_equal(few.arrays["split"], tiny_corpus.arrays["split"][:50])


def test_another_seed_gives_other_games_and_every_game_has_its_own_seed(tmp_path, tiny_corpus):
    other = generate("othello4", n_games=50, seed=1, out=tmp_path / "other")
    assert texts(other) != texts(tiny_corpus)[:50]
    assert len(np.unique(np.concatenate([game_seeds(seed, 0, 1000) for seed in range(5)]))) == 5000
    assert np.array_equal(game_seeds(3, 0, 10)[4:], game_seeds(3, 4, 10))


def test_every_game_is_legal_to_its_end(tiny_corpus):
    game = tiny_corpus.game
    assert all(game.is_over(game.replay(text)[-1]) for text in texts(tiny_corpus))


def test_per_game_columns_say_length_and_outcome(tiny_corpus):
    game, margins = tiny_corpus.game, tiny_corpus.arrays["games/margin"]
    for text, length, margin in zip(texts(tiny_corpus)[:50], tiny_corpus.arrays["games/length"], margins, strict=False):
        end = game.replay(text)[-1]
        assert (len(text) // 2, end.black.bit_count() - end.white.bit_count()) == (length, margin)


def test_splits_are_disjoint_and_cover_every_game(tiny_corpus):
    parts = [tiny_corpus.games(split) for split in SPLITS]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(tiny_corpus)))
    assert all(len(part) > 50 for part in parts)


def test_equal_games_fall_in_one_split(tmp_path):
    corpus = generate(
        "othello4",
        "epsilon_greedy:epsilon=0",
        4000,
        validation_fraction=0.3,
        test_fraction=0.3,
        out=tmp_path / "run",
    )
    sides = {}
    for text, split in zip(texts(corpus), corpus.arrays["split"].tolist(), strict=True):
        sides.setdefault(text, set()).add(split)
    assert len(sides) < 2000
    assert all(len(splits) == 1 for splits in sides.values())
    assert {split for splits in sides.values() for split in splits} == {0, 1, 2}


def test_split_shares_are_those_asked_for_and_depend_on_the_seed_and_the_order_of_moves():
    moves = np.random.default_rng(0).integers(0, 60, (20_000, 8))
    record = MoveRecord.of(moves)
    split = split_games(record, 0, 0.1, 0.3)
    for number, share in ((0, 0.6), (1, 0.1), (2, 0.3)):
        assert abs((split == number).mean() - share) < 4 * (share * (1 - share) / 20_000) ** 0.5
    independent = 0.6**2 + 0.1**2 + 0.3**2
    for other in (split_games(record, 1, 0.1, 0.3), split_games(MoveRecord.of(moves[:, ::-1]), 0, 0.1, 0.3)):
        assert abs((split == other).mean() - independent) < 0.02
    assert not split_games(record, 0, 0.0, 0.0).any()


def test_a_games_split_does_not_depend_on_the_games_around_it():
    games = [[3, 1], [], [5], [1, 3], [], [7, 7, 7]]
    alone = [int(split_games(MoveRecord.of([game]), 0, 0.4, 0.3)[0]) for game in games]
    assert split_games(MoveRecord.of(games), 0, 0.4, 0.3).tolist() == alone


def test_explicit_passes_are_moves_of_the_corpus(tmp_path):
    corpus = generate("othello4:passes=explicit", n_games=100, out=tmp_path / "run")
    assert any("--" in text for text in texts(corpus)) and "--" in corpus.alphabet
    assert corpus.game is load_game("othello4", passes="explicit")
    assert corpus.attributes["game"] == corpus.game.spec == "othello4:passes=explicit"


def test_the_same_game_by_another_text_is_the_same_corpus_and_no_folder_has_a_colon(tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    specs = ("othello4", "othello4:passes=implicit", "othello:size=4", "othello4:passes=explicit")
    plain, *same, other = (generate(spec, n_games=5).path.parent for spec in specs)
    assert same == [plain, plain] and other.parent == plain.parent and other != plain
    assert plain.name.startswith("othello4-") and other.name.startswith("othello4-")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"n_games": 0}, "field 'n_games' is 0: must be at least 1"),
        ({"n_games": "5"}, "n_games"),
        ({"players": ("random",) * 3}, "one (for both sides) or two"),
        ({"players": ()}, "one (for both sides) or two"),
        ({"tokenization": "moves"}, "unknown tokenization 'moves'; did you mean 'move'?"),
        ({"players": "radnom"}, "unknown player 'radnom'"),
        ({"players": ("random", "epsilon_greedy:epsilon=2")}, "field 'epsilon' is 2: must be at most 1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave games to train on"),
        ({"test_fraction": -0.1}, "field 'test_fraction' is -0.1: must be at least 0"),
        ({"tokenization": "word"}, "tokenization"),
        ({"passes": "explicit"}, "unknown field 'passes'"),
        ({"game": "othello4:passes"}, "game 'othello4:passes': 'passes' is not setting=value"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"n_gmaes": 3}, "did you mean 'n_games'"),
    ],
)
def test_bad_settings_are_refused_before_a_folder_is_made(tmp_path, settings, complaint):
    with pytest.raises(ConfigError) as caught:
        generate(**{"game": "othello4", "n_games": 5, "out": tmp_path / "run", **settings})
    assert complaint in str(caught.value) and not (tmp_path / "run").exists()


def test_an_unknown_game_is_refused_with_the_closest_name_before_a_folder_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"unknown game 'othelo'; did you mean 'othello'"):
        generate("othelo", n_games=5, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bad_option_of_a_game_is_refused_and_named_before_a_folder_is_made(tmp_path):
    with pytest.raises(ValueError, match="game 'othello4:passes=maybe': passes are 'implicit' or 'explicit'"):
        generate("othello4:passes=maybe", n_games=5, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_settings_in_a_used_folder_are_refused_and_named(whole, cfg):
    values = {"game": "othello4", "seed": 6, "validation_fraction": 0.2, "test_fraction": 0.2}
    with pytest.raises(RunError, match="its config has seed = 5, not 6"):
        generate_run(GenerateConfig(**values, n_games=N_GAMES), out=whole)


def test_the_default_folder_is_below_the_runs_root(tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    corpus = generate("othello4", n_games=5)
    assert corpus.path.parent.parent == tmp_path / "corpus"
    assert os.fspath(corpus.path.parent).endswith(f"othello4-{corpus.hash}")
