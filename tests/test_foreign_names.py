"""Names that people bring from other libraries are named in the error, wherever they are typed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardgame_sae import cli
from boardgame_sae.config import ConfigError, config, from_mapping
from boardgame_sae.foreign_names import advice, closest, name_here
from boardgame_sae.games import load_game
from boardgame_sae.model.train_config import TrainGPTConfig, preset
from boardgame_sae.pipeline.sweep import SweepConfig
from boardgame_sae.saes.registry import architectures, config_class, make_sae, sae_config
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.saes.training.train import TrainSAEConfig


@pytest.mark.parametrize(
    ("foreign", "here"),
    [
        ("d_sae", "n_latents"),
        ("dict_size", "n_latents"),
        ("d_in", "d_model"),
        ("activation_dim", "d_model"),
        ("arch", "architecture"),
        ("D_SAE", "n_latents"),
    ],
)
def test_a_field_of_an_sae(foreign, here):
    with pytest.raises(ConfigError, match=f"unknown field '{foreign}'; did you mean '{here}'"):
        sae_config("relu", **{foreign: 8})


def test_a_field_that_another_architecture_has_is_told_with_those_of_this_one():
    with pytest.raises(ConfigError, match="l1_coefficient'; did you mean 'sparsity_coefficient'"):
        sae_config("relu", d_model=8, n_latents=8, l1_coefficient=3)
    with pytest.raises(ConfigError, match=r"its name here is 'sparsity_coefficient', which this does not have; .* k,"):
        sae_config("topk", d_model=8, n_latents=8, l1_coefficient=3)


@pytest.mark.parametrize(
    ("cls", "foreign", "here"),
    [
        (TrainSAEConfig, "training_tokens", "n_activations"),
        (TrainSAEConfig, "learning_rate", "lr"),
        (TrainSAEConfig, "train_batch_size_tokens", "batch_size"),
        (TrainGPTConfig, "learning_rate", "adamw_lr"),
        (TrainGPTConfig, "n_embd", "d_model"),
        (TrainGPTConfig, "block_size", "n_ctx"),
    ],
)
def test_a_field_of_a_training(cls, foreign, here):
    with pytest.raises(ConfigError, match=f"unknown field '{foreign}'; did you mean '{here}'"):
        from_mapping(cls, {foreign: 8})


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (TrainSAEConfig, {"training_tokens": 8}, "TrainSAEConfig: unknown field 'training_tokens'; .*'n_activations'"),
        (TrainSAEConfig, {"lr": "fast"}, "TrainSAEConfig: field 'lr' is 'fast'"),
        (TrainSAEConfig, {"lr": -1}, "TrainSAEConfig: field 'lr' is -1: must be at least 0"),
        (TrainGPTConfig, {"n_layer": 2}, "TrainGPTConfig: unknown field 'n_layer'; did you mean 'n_layers'"),
        (config_class("topk"), {"d_in": 8, "n_latents": 8}, "(?s)field 'd_model' is required.*did you mean 'd_model'"),
        (
            config_class("topk"),
            {"d_model": 8, "n_latents": 8, "k": 9},
            "TopKConfig: k must lie between 1 and n_latents",
        ),
    ],
)
def test_a_config_object_explains_itself_as_a_file_does(cls, fields, message):
    with pytest.raises(ConfigError, match=message):
        cls(**fields)


PUBLISHED = {
    "jumprelu": {"jumprelu_init_threshold": "threshold_start", "l0_warm_up_steps": "sparsity_warmup",
                 "jumprelu_bandwidth": "bandwidth", "jumprelu_tanh_scale": "tanh_scale",
                 "jumprelu_sparsity_loss_mode": "sparsity_loss", "l0_coefficient": "sparsity_coefficient"},
    "p_anneal": {"initial_sparsity_penalty": "sparsity_coefficient", "n_sparsity_updates": "n_updates",
                 "sparsity_queue_length": "queue_length", "sparsity_function": "penalty_norm"},
    "topk": {"apply_b_dec_to_input": "subtract_b_dec", "b_dec_init_method": "b_dec_start",
             "auxk_alpha": "auxiliary_coefficient"},
}  # fmt: skip
"""Fields of SAELens 6 and dictionary_learning 0.1, and ours, by the architecture."""


@pytest.mark.parametrize(("name", "fields"), PUBLISHED.items())
def test_fields_of_the_published_packages_are_understood(name, fields):
    for foreign, here in fields.items():
        with pytest.raises(ConfigError, match=f"unknown field '{foreign}'; did you mean '{here}'"):
            make_sae(name, d_model=8, n_latents=8, **{foreign: 1})


@pytest.mark.parametrize(
    ("foreign", "here"),
    [("output_path", "out"), ("use_wandb", "tracker"), ("model_name", "testbed"), ("log_steps", "log_every")],
)
def test_what_train_sae_itself_takes_is_named_too(foreign, here):
    with pytest.raises(ConfigError, match=f"train_sae: unknown field '{foreign}'; did you mean '{here}'"):
        train_sae(None, "topk", **{foreign: 1})  # pyright: ignore[reportArgumentType]


def test_a_field_inside_another_is_compared_with_its_neighbours():
    study = {"name": "x", "corpus": {}, "training": {"training_tokens": 5}}
    with pytest.raises(ConfigError, match=r"'training\.training_tokens'; did you mean 'n_activations'"):
        from_mapping(SweepConfig, study)
    with pytest.raises(ConfigError, match=r"'probes\.0\.learning_rate'; did you mean 'lr'"):
        from_mapping(SweepConfig, {"name": "x", "corpus": {}, "probes": [{"learning_rate": 5}]})


@pytest.mark.parametrize(
    ("foreign", "here"),
    [("BatchTopK", "batch_topk"), ("JumpReLU", "jumprelu"), ("jump_relu", "jumprelu"), ("standard", "relu"),
     ("p-anneal", "p_anneal"), ("TopK", "topk"), ("matryoshka_batchtopk", "matryoshka_batch_topk"),
     ("TopKTrainer", "topk"), ("AutoEncoderTopK", "topk"), ("BatchTopKTrainingSAE", "batch_topk"),
     ("GatedAnnealTrainer", "gated_p_anneal"), ("JumpReluAutoEncoder", "jumprelu"), ("AutoEncoder", "relu")],
)  # fmt: skip
def test_an_architecture_in_another_library_s_words(foreign, here):
    with pytest.raises(ConfigError, match=f"'{foreign}'; did you mean '{here}'"):
        make_sae(foreign, d_model=4, n_latents=4)


@pytest.mark.parametrize(
    ("foreign", "here"), [("reversi", "othello"), ("Chess", "chess"), ("connect4", "connect_four")]
)
def test_a_game_by_another_name(foreign, here):
    with pytest.raises(ValueError, match=f"did you mean '{here}'"):
        load_game(foreign)


def test_a_preset_and_a_choice(tmp_path):
    with pytest.raises(ConfigError, match="unknown preset 'Small'; did you mean 'small'"):
        preset("Small")
    with pytest.raises(ConfigError, match=r"field 'act_fn' is 'GELU': must be one of relu, gelu; did you mean 'gelu'"):
        from_mapping(TrainGPTConfig, {"act_fn": "GELU"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train-sae", "--testbed", "x", "--d-sae", "8"], "unknown flag --d-sae; did you mean --n-latents?"),
        (
            ["train-sae", "--testbed", "x", "--training-tokens=8"],
            "unknown flag --training-tokens; did you mean --n-act",
        ),
        (
            ["train-sae", "--testbed", "x", "--architecture", "topk", "--l1-coefficient", "3"],
            "--sparsity-coefficient, which",
        ),
        (["generate", "--num-games", "8"], "unknown flag --num-games; did you mean --n-games?"),
        (["export", "othello6-tiny/topk-16", "--to", "saelens"], "did you mean 'sae_lens'?"),
        (["export", "othello6-tiny/topk-16", "--to", "SAELens"], "did you mean 'sae_lens'?"),
        (["score", "othello6-tiny/topk-16", "--testbed", "othello6-tiny", "--suite", "quik"], "quick"),
    ],
)
def test_a_flag(capsys, words, said):
    try:
        code = cli.main(words)
    except SystemExit as left:
        code = left.code
    assert code == 2 and said in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_known_name_is_never_taken_for_another():
    assert all(closest(name, architectures()) == name for name in architectures())


@settings(max_examples=20)
@given(st.text(max_size=8), st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=5))
def test_advice_names_a_known_name_or_all_of_them(name, known):
    said, meant = advice(name, known), closest(name, known)
    assert meant is None or meant in known
    assert (repr(meant)[1:-1] in said or meant in said) if meant else all(each in said for each in known)
    assert name_here(name, known) in (None, *known)


def test_a_config_of_a_newcomer_has_hints_too():
    @config
    class Mine:
        """A config."""

        n_latents: int = 3
        """Latents."""

    with pytest.raises(ConfigError, match="did you mean 'n_latents'"):
        from_mapping(Mine, {"dictionary_size": 4})
