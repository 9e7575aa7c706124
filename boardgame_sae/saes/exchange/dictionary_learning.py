"""SAEs in dictionary_learning's format: a folder of `ae.pt`, a pickled dict of tensors, and `config.json`.

    dict_class              tensors                                                        z
    AutoEncoder             encoder.weight encoder.bias decoder.weight bias                ReLU(pre)
    AutoEncoderNew          the same, decoder.bias for bias                                ReLU(pre), b_dec stays
    AutoEncoderTopK         encoder.weight encoder.bias decoder.weight b_dec k threshold   k largest of ReLU(pre)
    BatchTopKSAE            the same                                                       ReLU(pre) 1[pre > threshold]
    MatryoshkaBatchTopKSAE  W_enc b_enc W_dec b_dec k threshold group_sizes                the same
    JumpReluAutoEncoder     W_enc b_enc W_dec b_dec threshold (F,)                         the same, b_dec stays
    GatedAutoEncoder        encoder.weight decoder.weight r_mag gate_bias mag_bias         as in `gated`
                            decoder_bias

`.weight`s are those of linear layers, our W_enc and W_dec transposed. pre = (x - b_dec) W_enc + b_enc; where b_dec
stays, it is x W_enc + b_enc. An AutoEncoder whose rows are not of norm 1 has its norms folded in when it is loaded.
`config.json` names the class under `trainer`, beside the layer and the model. Before December 2024 k stood in the
config alone, and BatchTopK SAEs had no threshold: they, and those whose threshold was never set (it is -1 then, and
their own `encode` a dense ReLU), are read as BatchTopK SAEs that are not calibrated.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boardgame_sae.files import RunError, write_json, writing
from boardgame_sae.saes.exchange import shared
from boardgame_sae.saes.exchange.fields import Fields
from boardgame_sae.saes.exchange.library import Library, Sign, config_fields, register
from boardgame_sae.saes.sae import SAE, Form
from boardgame_sae.weights import check_finite, read_pt, without_wrappers

WEIGHTS_FILE, CONFIG_FILE = "ae.pt", "config.json"

_LINEAR = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
_PLAIN = {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
_PARAMETERS = {
    "AutoEncoder": {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "bias"},
    "AutoEncoderNew": {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "decoder.bias"},
    "AutoEncoderTopK": {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "b_dec"},
    "BatchTopKSAE": {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "b_dec"},
    "MatryoshkaBatchTopKSAE": _PLAIN,
    "JumpReluAutoEncoder": {**_PLAIN, "threshold": "threshold"},
    "GatedAutoEncoder": {
        **_LINEAR, "b_enc": "gate_bias", "b_mag": "mag_bias", "r_mag": "r_mag", "b_dec": "decoder_bias"
    },
}  # fmt: skip
"""For each class, our parameters and their names there."""
_BUFFERS: dict[str, tuple[str, ...]] = {
    "AutoEncoderTopK": ("k", "threshold"),
    "BatchTopKSAE": ("k", "threshold"),
    "MatryoshkaBatchTopKSAE": ("k", "threshold", "group_sizes"),
}
"""For each class, tensors beside the parameters; files of before December 2024 have none of them."""
_OLD_BUFFERS = ("group_indices",)
"""A tensor beside the parameters that says nothing about latents."""
_FORMS: dict[str, Form] = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
    "JumpReluAutoEncoder": "jumprelu",
    "GatedAutoEncoder": "gated",
}
"""For each class, what it computes."""
_ONE_THRESHOLD = ("BatchTopKSAE", "MatryoshkaBatchTopKSAE")
_B_DEC_STAYS = ("AutoEncoderNew", "JumpReluAutoEncoder")
_TRAINERS = {
    "StandardTrainer": "relu",
    "StandardTrainerAprilUpdate": "relu_april",
    "PAnnealTrainer": "p_anneal",
    "GatedSAETrainer": "gated",
    "GatedAnnealTrainer": "gated_p_anneal",
    "TopKTrainer": "topk",
    "BatchTopKTrainer": "batch_topk",
    "MatryoshkaBatchTopKTrainer": "matryoshka_batch_topk",
    "JumpReluTrainer": "jumprelu",
    "TrainerTopK": "topk",
    "TrainerBatchTopK": "batch_topk",
    "TrainerJumpRelu": "jumprelu",
    "MatroyshkaBatchTopKTrainer": "matryoshka_batch_topk",
}
"""Their trainers, and what the same training is called here; the last four by their names of 2024."""
_CLASS_OF_2024 = {"MatroyshkaBatchTopKSAE": "MatryoshkaBatchTopKSAE"}
_TRAINER_OF_CLASS = {"BatchTopKSAE": "BatchTopKTrainer", "MatryoshkaBatchTopKSAE": "MatryoshkaBatchTopKTrainer"}
"""The trainer of a class that only one trainer makes, and that its form does not tell."""
_KEPT = {"layer": "layer", "lm_name": "lm_name", "submodule": "submodule_name"}
"""Our metadata, and their names of it."""


def to_dictionary_learning(sae: SAE, folder: str | Path) -> None:
    """Write an SAE so that dictionary_learning's `utils.load_dictionary(folder, device)` opens it, same latents.

    Raises RunError for an SAE of a form that dictionary_learning does not have, and for a BatchTopK SAE that is not
    calibrated.
    """
    forms = dict.fromkeys(_FORMS.values())
    simple, form = shared.exportable(sae, forms, "dictionary_learning")
    folder, dict_class, facts = Path(folder), _class_for(simple, form), shared.facts(sae)
    state = shared.with_b_dec(simple, subtracted=dict_class not in _B_DEC_STAYS)
    tensors = {theirs: _turned(state[ours], theirs) for ours, theirs in _PARAMETERS[dict_class].items()}
    trainer: dict[str, Any] = {
        "dict_class": dict_class,
        "trainer_class": next((trainer for trainer, ours in _TRAINERS.items() if ours == facts.architecture), None),
        "activation_dim": simple.cfg.d_model,
        "dict_size": simple.cfg.n_latents,
        "layer": facts.layer,
        "lm_name": facts.model_name,
        "submodule_name": facts.hook_name,
    }
    if dict_class in _BUFFERS:
        buffers = _buffers(simple, form)
        tensors.update({name: buffers[name] for name in _BUFFERS[dict_class]})
        trainer["k"] = int(buffers["k"])
    with writing(folder / WEIGHTS_FILE) as temporary:
        torch.save(tensors, temporary)
    write_json(folder / CONFIG_FILE, {"trainer": trainer, shared.OURS: shared.card(sae)})


def from_dictionary_learning(path: str | Path) -> SAE:
    """Read a dictionary, given its folder or its `.pt` file; its latents are those of the class when loaded.

    Without a `config.json` the tensors have to tell the class. A batch-wise one without a threshold is read as a
    BatchTopK SAE that is not calibrated. Raises RunError naming the file and the fix for what is damaged, is not a
    plain dict of tensors (nothing in it is run), or has no counterpart here.
    """
    file = weights_file(Path(path))
    config = _read_config(file)
    trainer = Fields(config.mapping("trainer"), config.source)
    tensors = _read_tensors(file)
    dict_class = _class_of(tensors, trainer.get("dict_class"), file)
    weights = {ours: _turned(tensors[theirs], theirs).float() for ours, theirs in _PARAMETERS[dict_class].items()}
    if weights["W_enc"].ndim != 2:
        raise RunError(f"{file}: the encoder is {tuple(weights['W_enc'].shape)}, not a matrix; export the SAE again")
    d_model, n_latents = weights["W_enc"].shape
    fields = {"d_model": d_model, "n_latents": n_latents, "subtract_b_dec": dict_class not in _B_DEC_STAYS}
    k = _k(tensors, trainer, file) if dict_class in _BUFFERS else None
    architecture: str = _FORMS[dict_class]
    if dict_class in _ONE_THRESHOLD:
        threshold = _number(tensors, "threshold", file) if "threshold" in tensors else -1.0
        if threshold >= 0:
            weights["threshold"] = torch.full((n_latents,), threshold)
        else:
            architecture = "batch_topk"
    if architecture in ("topk", "batch_topk"):
        if k is None:
            raise RunError(f"{file}: holds no k, nor does its {CONFIG_FILE}; write it there, as `trainer.k`")
        fields["k"] = k
    sae = shared.rebuild(file, architecture, weights, **fields)
    if dict_class == "AutoEncoder" and not shared.rows_of_norm_one(sae.W_dec):
        sae.fold_norms()
    sizes = tensors["group_sizes"].tolist() if "group_sizes" in tensors else None
    return shared.remember(
        sae,
        {name: value for name, value in config.values.items() if name != shared.OURS},
        config.get(shared.OURS),
        {ours: trainer.get(theirs) for ours, theirs in _KEPT.items()},
        architecture=_trained_as(trainer.get("trainer_class"), dict_class),
        k=k,
        group_fractions=sizes and [size / n_latents for size in sizes],
    )


def weights_file(path: Path) -> Path:
    """The `.pt` file of a dictionary: the path itself, or `ae.pt` in it."""
    return path if path.suffix == ".pt" and not path.is_dir() else path / WEIGHTS_FILE


def _class_for(simple: SAE, form: Form) -> str:
    """The class with an SAE's latents."""
    subtracts, trained = simple.cfg.subtract_b_dec, simple.trained_as
    if form == "gated":
        return "GatedAutoEncoder"
    if form == "topk":
        return "AutoEncoderTopK"
    if form == "relu":
        return "AutoEncoder" if subtracts and shared.rows_of_norm_one(simple.W_dec) else "AutoEncoderNew"
    threshold_F = simple.get_parameter("threshold")
    if subtracts and isinstance(trained.get("k"), int) and bool((threshold_F == threshold_F[0]).all()):
        return "MatryoshkaBatchTopKSAE" if trained.get("group_fractions") else "BatchTopKSAE"
    return "JumpReluAutoEncoder"


def _buffers(simple: SAE, form: Form) -> dict[str, Tensor]:
    """k, threshold (-1: none) and the sizes of nested groups."""
    trained, n_latents = simple.trained_as, simple.cfg.n_latents
    has_threshold = form == "jumprelu"
    fractions = trained.get("group_fractions") or [1.0]
    sizes = [int(share * n_latents + 1e-6) for share in fractions[:-1]]
    return {
        "k": torch.tensor(trained["k"] if has_threshold else simple.cfg.k, dtype=torch.int32),
        "threshold": simple.get_parameter("threshold")[0].detach().cpu().clone()
        if has_threshold
        else torch.tensor(-1.0),
        "group_sizes": torch.tensor([*sizes, n_latents - sum(sizes)]),
    }


def _turned(weight: Tensor, theirs: str) -> Tensor:
    return (weight.T if theirs.endswith(".weight") and weight.ndim == 2 else weight).contiguous()


def _read_config(file: Path) -> Fields:
    """The config beside a file, or above its folder `checkpoints`; an empty one where there is none."""
    folder = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    path = folder / CONFIG_FILE
    if not path.exists():
        return Fields({"trainer": {}}, path)
    config = Fields.read(path, "restore it, or move it away to do without")
    if "trainer" not in config.values:
        raise RunError(f"{path}: has no mapping `trainer`; restore it, or move it away to do without")
    return config


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.exists():
        raise RunError(f"{file}: no such file; give the folder that holds {WEIGHTS_FILE}")
    tensors = read_pt(file, "save it again with `torch.save(ae.state_dict(), path)`")
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise RunError(f"{file}: not a dict of tensors; save it again with `torch.save(ae.state_dict(), path)`")
    bare = without_wrappers({str(name): tensor for name, tensor in tensors.items()})
    # one threshold that is NaN was never set
    check_finite(file, {name: tensor for name, tensor in bare.items() if name != "threshold" or tensor.numel() > 1})
    return {name: tensor for name, tensor in bare.items() if name not in _OLD_BUFFERS}


def _class_of(tensors: Mapping[str, Tensor], stated: Any, file: Path) -> str:
    """The class whose tensors these are; where two have the same, the one that the config states."""
    stated = _CLASS_OF_2024.get(str(stated), stated)
    possible = [name for name in _PARAMETERS if _may_be(name, tensors)]
    if stated in possible or (stated is None and len(possible) == 1):
        return stated or possible[0]
    if stated is None and possible:
        raise RunError(f"{file}: may be {' or '.join(possible)}; put its {CONFIG_FILE} beside it, which says which")
    names = ", ".join(sorted(map(str, tensors)))
    contradiction = f"{CONFIG_FILE} says dict_class is {stated!r}, but the" if stated is not None else "the"
    raise RunError(
        f"{file}: {contradiction} tensors ({names}) are those of {' or '.join(possible) or 'no class known here'}; "
        f"known are {', '.join(_PARAMETERS)}"
    )


def _may_be(dict_class: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a class has just these tensors; buffers may be missing, and a threshold is one number or one each."""
    parameters, buffers = {*_PARAMETERS[dict_class].values()}, {*_BUFFERS.get(dict_class, ())}
    one_each = "threshold" in tensors and tensors["threshold"].ndim > 0
    return parameters <= tensors.keys() <= parameters | buffers and not (one_each and "threshold" in buffers)


def _k(tensors: Mapping[str, Tensor], trainer: Fields, file: Path) -> int | None:
    """k of the tensors, else of the config; None where neither says. Raises RunError where they differ."""
    stated = trainer.number("k", "it says how many latents are on") if "k" in trainer.values else None
    if "k" not in tensors:
        return stated
    k = int(_number(tensors, "k", file))
    if stated not in (None, k):
        raise RunError(f"{file}: k is {k}, but {trainer.source} says {stated}; correct the one that is wrong")
    return k


def _number(tensors: Mapping[str, Tensor], name: str, file: Path) -> float:
    if tensors[name].numel() != 1:
        raise RunError(f"{file}: {name} has shape {tuple(tensors[name].shape)}, not one number; export the SAE again")
    return tensors[name].item()


def _trained_as(trainer_class: Any, dict_class: str) -> str:
    own = _TRAINER_OF_CLASS.get(dict_class)
    return _TRAINERS.get(str(trainer_class)) or (_TRAINERS[own] if own else _FORMS[dict_class])


def _sign(path: Path) -> Sign:
    if not weights_file(path).is_file():
        return Sign.NONE
    return Sign.CONFIG if "trainer" in config_fields(path, CONFIG_FILE) else Sign.WEIGHTS


register(
    Library(
        "dictionary_learning",
        "dictionary_learning",
        WEIGHTS_FILE,
        _sign,
        from_dictionary_learning,
        to_dictionary_learning,
        tuple(dict.fromkeys(_FORMS.values())),
    )
)
