from dataclasses import replace
from types import SimpleNamespace

import pytest

from boardgame_sae.config import ConfigError
from boardgame_sae.metrics.baselines import registry as module
from boardgame_sae.metrics.baselines.registry import (
    SAE_KIND,
    SAE_TITLE,
    Baseline,
    Look,
    Made,
    baselines,
    find_baseline,
    has_l0,
    kind_of,
    kind_order,
    kind_title,
    register,
)
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.registry import Registry
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"
KINDS = pytest.mark.parametrize("kind", baselines())


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    """A testbed without probes, so that they read nothing."""
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=8)


@pytest.fixture
def empty(monkeypatch):
    """A registry without a baseline."""
    monkeypatch.setattr(module, "_BASELINES", Registry("baseline"))


def toy(kind="toy", **fields):
    about = {"title": "Toy", "label": "a toy", "role": "floor", "order": 3, "look": Look("#123456", "x")}
    return Baseline(kind=kind, **{**about, "of_testbed": lambda testbed: Made("toy", None, testbed), **fields})


@KINDS
def test_a_baseline_declares_all_that_tables_and_figures_need(kind):
    baseline = baselines()[kind]
    assert baseline.kind == kind and find_baseline(kind) is baseline
    assert len(baseline.title) > 3 and len(baseline.label) > 3
    assert baseline.role in ("ceiling", "floor")
    assert baseline.order > 0, "SAEs stand at 0"
    colour, marker, line, size = baseline.look
    assert colour.startswith("#") and len(colour) == 7 and marker and line in ("-", "--", ":", "-.") and size > 0
    assert (kind_title(kind), has_l0(kind)) == (baseline.title, baseline.has_l0)


@pytest.fixture(scope="module")
def sae_folder(bed, tmp_path_factory):
    """A saved SAE of the testbed."""
    folder = tmp_path_factory.mktemp("sae") / "topk"
    train_sae(bed, "topk", n_latents=24, k=4, n_activations=640, n_harvested=500, batch_size=64, out=folder)
    return folder


def all_of(baseline, bed, sae_folder):
    """Whatever a baseline makes of the testbed; a twin as it would be scored."""
    if baseline.of_testbed is not None:
        return [baseline.of_testbed(bed)]
    if baseline.of_sparsity is not None:
        return [baseline.of_sparsity(bed, k) for k in (1, 3)]
    twin = load_sae(baseline.of_sae(sae_folder, bed, "cpu"))
    assert kind_of(twin) == baseline.kind != kind_of(load_sae(sae_folder)) == SAE_KIND
    return [Made("twin", twin, baseline.variant(bed))]


@KINDS
def test_a_baseline_can_be_made_and_gives_latents(kind, bed, sae_folder):
    for made in all_of(baselines()[kind], bed, sae_folder):
        assert made.name.strip() and made.testbed.corpus is bed.corpus
        acts_ND = made.testbed.activations("test")[:50]
        latents = as_latent_source(made.latents, made.testbed).read("test", 0, len(acts_ND), acts_ND)
        assert latents.n_positions == len(acts_ND) and latents.n_latents > 0


@pytest.mark.parametrize("kind", [kind for kind, baseline in baselines().items() if baseline.of_sparsity])
def test_a_baseline_of_a_sparsity_says_which(kind, bed):
    names = set()
    for k in (1, 7):
        made = find_baseline(kind).of_sparsity(bed, k)
        assert made.facts["k"] == k
        names.add(made.name)
    assert len(names) == 2


def test_a_second_registration_of_a_kind_raises_and_leaves_the_first(empty):
    first = register(toy())
    with pytest.raises(ValueError, match="there already is a baseline 'toy'; choose another name"):
        register(toy(title="Another"))
    assert baselines() == {"toy": first}


def test_a_kind_of_the_packages_own_is_taken():
    before = baselines()
    with pytest.raises(ValueError, match="there already is a baseline 'probe'"):
        register(toy("probe"))
    assert baselines() == before


def test_an_unknown_kind_names_the_closest():
    with pytest.raises(ConfigError, match="unknown baseline 'neuron'; did you mean 'neurons'"):
        find_baseline("neuron")
    with pytest.raises(ConfigError, match=f"unknown baseline 'xyz'; there are .*{next(iter(baselines()))}"):
        find_baseline("xyz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"of_testbed": None}, "give exactly one of of_testbed, of_sparsity and of_sae"),
        ({"of_sparsity": lambda testbed, k: None}, "give exactly one of of_testbed"),
        ({"of_testbed": None, "of_sae": lambda folder, testbed, device: folder}, "of_sae, recognises and variant go"),
        ({"recognises": lambda sae: True}, "of_sae, recognises and variant go together"),
        ({"variant": Testbed.random_twin}, "of_sae, recognises and variant go together"),
    ],
)
def test_a_baseline_that_nothing_or_several_make_is_refused(empty, fields, message):
    with pytest.raises(ValueError, match=f"baseline 'toy': {message}"):
        register(toy(**fields))
    assert baselines() == {}


def test_kinds_come_by_order_then_by_name_with_saes_first_and_unknown_ones_last(empty):
    for kind, order in (("b", 2), ("c", 1), ("a", 2)):
        register(toy(kind, order=order))
    assert list(baselines()) == ["c", "a", "b"]
    assert sorted(["x", "b", SAE_KIND, "a", "c"], key=kind_order) == [SAE_KIND, "c", "a", "b", "x"]


def test_titles_and_l0_of_saes_and_of_unknown_kinds(empty):
    register(replace(toy(), has_l0=False))
    assert [kind_title(kind) for kind in (SAE_KIND, "toy", "odd_kind")] == [SAE_TITLE, "Toy", "odd kind"]
    assert [has_l0(kind) for kind in (SAE_KIND, "toy", "odd_kind")] == [True, False, True]


def test_an_sae_is_of_the_kind_that_recognises_it(empty):
    twin = {"of_testbed": None, "of_sae": lambda folder, testbed, device: folder, "variant": Testbed.random_twin}
    register(toy("blind", **twin, recognises=lambda sae: sae.metadata.get("blind", False)))
    register(toy())
    assert kind_of(SimpleNamespace(metadata={"blind": True})) == "blind"
    assert kind_of(SimpleNamespace(metadata={})) == SAE_KIND
