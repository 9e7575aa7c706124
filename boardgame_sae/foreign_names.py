"""What things are called in other libraries, and what they are called here: the one table that hints are taken from.

Whoever writes `d_sae`, `l1_coefficient` or `saelens` gets an error that says the name to write instead.
"""

import difflib
from collections.abc import Iterable, Mapping

MOST_LISTED = 40
"""Names that a message lists at most."""
_HERE: Mapping[str, tuple[str, ...]] = {
    # fields of SAEs
    "n_latents": (
        "d_sae", "dict_size", "dictionary_size", "num_latents", "n_features", "num_features", "n_feats", "d_hidden",
        "d_dict", "latent_size", "hidden_dim", "expansion_factor", "width", "sae_width",
    ),
    "d_model": ("d_in", "activation_dim", "input_dim", "n_embd", "hidden_size", "d_embed"),
    "sparsity_coefficient": (
        "l1_coefficient", "l1_coeff", "l1_penalty", "l1_lambda", "l1_alpha", "l1_weight", "sparsity_penalty", "lambda",
        "l0_coefficient", "l0_lambda", "initial_sparsity_penalty", "sparsity_coeff",
    ),
    "sparsity_warmup": (
        "l1_warm_up_steps", "l1_warmup_steps", "l0_warm_up_steps", "l0_warmup_steps", "sparsity_warmup_steps",
        "lambda_warmup",
    ),
    "sparsity_loss": ("jumprelu_sparsity_loss_mode", "sparsity_loss_mode"),
    "threshold_start": ("jumprelu_init_threshold", "init_threshold", "initial_threshold"),
    "bandwidth": ("jumprelu_bandwidth",),
    "tanh_scale": ("jumprelu_tanh_scale",),
    "penalty_norm": ("sparsity_function", "lp_norm"),
    "n_updates": ("n_sparsity_updates",),
    "queue_length": ("sparsity_queue_length",),
    "subtract_b_dec": ("apply_b_dec_to_input",),
    "b_dec_start": ("b_dec_init_method",),
    "target_l0": ("l0", "l0_target"),
    "k": ("top_k", "topk", "activation_k", "num_active"),
    "auxiliary_coefficient": ("auxk_alpha", "aux_loss_coefficient", "aux_coefficient", "aux_penalty"),
    "resample_every": ("resample_steps", "feature_sampling_window"),
    "dead_after": ("dead_feature_threshold", "dead_steps_threshold"),
    "group_fractions": ("group_sizes", "matryoshka_widths"),
    "architecture": ("arch", "sae_type", "sae_class", "trainer"),
    # fields of trainings
    "n_activations": ("training_tokens", "total_training_tokens", "train_tokens", "num_tokens", "n_tokens", "tokens"),
    "log_every": ("log_steps", "wandb_log_frequency", "log_interval", "log_freq"),
    "n_steps": ("max_steps", "num_steps", "max_iters", "steps", "training_steps", "train_steps"),
    "batch_size": ("train_batch_size", "train_batch_size_tokens", "batch", "sae_batch_size", "out_batch_size"),
    "lr": ("learning_rate",),
    "adamw_lr": ("learning_rate", "lr"),
    "lr_warmup": ("lr_warm_up_steps", "warmup_steps", "warmup"),
    "lr_decay": ("lr_decay_steps", "decay_start"),
    "normalize_activations": ("normalize", "norm_activations"),
    "harvest_dtype": ("dtype", "autocast"),
    "dead_window": ("dead_feature_window",),
    "epochs": ("n_epochs", "num_epochs"),
    # fields of GPTs
    "n_layers": ("n_layer", "num_layers", "num_hidden_layers", "layers"),
    "n_heads": ("n_head", "num_heads", "num_attention_heads", "heads"),
    "n_ctx": ("block_size", "context_size", "context_length", "ctx_len", "max_seq_len", "n_positions"),
    "d_vocab": ("vocab_size",),
    "act_fn": ("activation_function", "activation", "hidden_act"),
    # fields of everything
    "hook_name": (
        "hook_point", "hookpoint", "hookpoints", "hook", "hook_layer", "layer", "submodule_name", "hook_names",
    ),
    "out": ("output", "output_dir", "out_dir", "save_dir", "save_path", "output_path", "checkpoint_path"),
    "seed": ("random_seed", "rng_seed"),
    "workers": ("n_workers", "num_workers", "n_jobs"),
    "n_games": ("num_games", "games", "total_games"),
    "testbed": ("model_name", "lm_name", "test_bed"),
    "tracker": ("log_to_wandb", "use_wandb", "wandb", "logger", "report_to"),
    # libraries
    "sae_lens": ("sl", "lens"),
    "dictionary_learning": ("dl", "dictionary"),
    "sparsify": ("eleuther", "eai_sparsify"),
    "hugging_face": ("hf", "transformers"),
    "transformer_lens": ("tl", "hooked_transformer"),
    # architectures, games, suites
    "relu": ("standard", "vanilla", "l1", "AutoEncoder", "StandardTrainer", "StandardSAE", "StandardTrainingSAE"),
    "relu_april": ("standard_april", "standard_april_update", "StandardTrainerAprilUpdate"),
    "p_anneal": ("PAnnealTrainer",),
    "gated": ("GatedAutoEncoder", "GatedSAETrainer", "GatedSAE", "GatedTrainingSAE"),
    "gated_p_anneal": ("GatedAnnealTrainer",),
    "jumprelu": ("jump", "JumpReluAutoEncoder", "JumpReluTrainer", "JumpReLUSAE", "JumpReLUTrainingSAE"),
    "topk": ("AutoEncoderTopK", "TopKTrainer", "TopKSAE", "TopKTrainingSAE"),
    "batch_topk": ("BatchTopKSAE", "BatchTopKTrainer", "BatchTopKTrainingSAE"),
    "matryoshka_batch_topk": ("msae", "MatryoshkaBatchTopKTrainer", "MatryoshkaBatchTopKTrainingSAE"),
    "othello": ("othello8", "othello8x8", "reversi", "8x8"),
    "othello6": ("othello6x6", "6x6"),
    "othello4": ("othello4x4", "4x4"),
    "connect_four": ("connect4",),
    "saebench": ("sae_bench", "bench"),
    "core": ("core_evals",),
}  # fmt: skip
"""Names here, and those that other libraries use for the same."""


def _bare(name: str) -> str:
    """A name without what is written in many ways: capitals, hyphens, underscores, spaces."""
    return "".join(sign for sign in name.casefold() if sign not in "-_ ")


def name_here(name: str, known: Iterable[str]) -> str | None:
    """Which of some known names is meant by a name that is none of them: by the table above, or by another spelling."""
    known, bare = tuple(known), _bare(name)
    same = [here for here in known if _bare(here) == bare]
    listed = [here for here in known if bare in map(_bare, _HERE.get(here, ()))]
    return next(iter(same + listed), None)


def name_anywhere(name: str) -> str | None:
    """What the thing that other libraries call so is called here; None for a name that is not in the table."""
    return next((here for here, foreign in _HERE.items() if _bare(name) in map(_bare, foreign)), None)


def closest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is meant by another, or else the one spelt most like it; None where none is."""
    known = tuple(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return name_here(str(name), known) or next(iter(near), None)


def advice(name: object, known: Iterable[str], what: str = "there are") -> str:
    """What to write instead of an unknown name, in words: one known name, or else all of them after `what`.

    Of more than MOST_LISTED only the first are listed.
    """
    known, elsewhere = tuple(known), name_anywhere(str(name))
    listed = ", ".join(known[:MOST_LISTED]) + (", ..." if len(known) > MOST_LISTED else "")
    if elsewhere and name_here(str(name), known) is None:
        return f"its name here is '{elsewhere}', which this does not have; {what} {listed or 'none'}"
    meant = closest(name, known)
    return f"did you mean '{meant}'?" if meant else f"{what} {listed or 'none'}"
