"""HDF5: corpora, activations, labels, evaluations."""

from pathlib import Path

from boardgame_sae.activations.store import ActivationStore
from boardgame_sae.testbeds.testbed import load_testbed
from boardgame_sae.transcripts.corpus import SPLITS, Corpus
from robustness.entry import entry, use
from robustness.mutations.hdf5 import HDF5


@entry("HDF5", "corpus", "corpus.h5", by=HDF5)
def corpus(folder: Path) -> None:
    """As `check` and training read it."""
    opened = Corpus.open(folder)
    use(opened.alphabet, opened.config)
    for split in SPLITS:
        games_B = opened.games(split)
        opened.boards(games_B)
        opened.rows(games_B[:8])
    opened.batch("train", 0, 4, 0)


@entry("HDF5", "activations", "acts.h5", by=HDF5)
def activations(folder: Path) -> None:
    """As a training of SAEs reads them."""
    store = ActivationStore.open(folder)
    use(store.hash, store.mean_norm)
    store.stream(16, 0).batch(0)


@entry("HDF5", "testbed", "test_labels.h5", by=HDF5)
def labels(folder: Path) -> None:
    """As scores read them."""
    testbed = load_testbed(folder, "cpu")
    for split in SPLITS:
        testbed.labels(split)


@entry("HDF5", "evaluations", "evaluations.h5", by=HDF5)
def evaluations(folder: Path) -> None:
    """As properties that need an engine's evaluation read them."""
    opened = Corpus.open(folder.parent / "chess").with_evaluations(folder)
    use(opened.hash_for(["piece"]))
    games_B = opened.games("train")
    opened.boards(games_B)
