"""Bring your own: whatever turns a testbed's activations into latents, behind one interface.

    given                                             what is used
    an SAE or transcoder of any library, any object   `encode`; `decode`, `W_dec`, `cfg` and the like where it has them
    a basis: neurons, channels, probes                `encode`
    latents computed elsewhere                        the array (positions, n_latents), or one per split
    a path                                            the SAE saved there

Objects are recognised by what they have, not by where they come from, and no other library has to be installed.

A latent is a classifier that says yes above zero. Where an object's latents go below zero (AbsTopK, a linear basis),
each stands for two: latent f is its positive part, latent F + f its negative part, and `decode` takes both.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from boardgame_sae.activations.hook_points import hook_points
from boardgame_sae.metrics.counting.latent_columns import Latents, as_latents, both_signs, lowest
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

_HOOK_NAME = ("metadata.hook_name", "cfg.metadata.hook_name", "cfg.hook_name", "hook_name")
_HOOK_NAME_OUT = tuple(f"{path}_out" for path in _HOOK_NAME)
_D_IN = ("cfg.d_in", "d_in", "activation_dim")
_D_OUT = ("cfg.d_out", "d_out")
_LINEAR = {"W_enc": ("encoder.weight",), "W_dec": ("decoder.weight",)}
_ENCODER_BIAS = ("b_mag", "b_enc", "encoder.bias")
_BY_RUN = ("expected_average_only_in", "covariance_whitening")
"""Normalizations whose numbers only the training run knows, until they are folded into the weights."""
N_TRIED = 256
"""Positions that an object is tried on: whether its latents go below zero."""


@dataclass(frozen=True, eq=False)
class LatentSource:
    """Whatever turns a testbed's activations into latents, behind one interface."""

    name: str
    """What tables call it: its class's name, or as given."""
    encode: Callable[[Tensor], Any]
    """(N, d_in) -> (N, n_latents), anything `as_latents` takes. Activations are moved and cast to its weights' device
    and dtype; tensors come back float32."""
    decode: Callable[[Tensor], Tensor] | None
    """(N, n_latents) -> (N, d_in), float32, only where it reconstructs the activations it read; None for transcoders,
    bases, arrays. It belongs to the latest `encode`, whose means and norms some keep so as to undo them, and may be
    repeated."""
    W_dec: Tensor | None
    """(n_latents, d_out), float32: decoder rows as they are, of any norm, where it has them."""
    W_enc: Tensor | None
    """(d_in, n_latents), float32: encoder columns, where it has them."""
    d_in: int | None
    """Width of the activations it reads; None where it does not state it."""
    hook_name: str | None
    """The hook point it states that it reads, if any."""
    reads_labels: bool
    """Whether latent i is a readout of label i, see `baselines.probes.ProbeOutputs`."""
    given: Any
    """The object itself."""
    encode_sparse: Callable[[Tensor], Any] | None = None
    """`encode` that never stores zeros, where it has one."""
    table: "GivenLatents | None" = None
    """The latents themselves, where they were given."""
    two_sided: bool = False
    """Whether latents go below zero, so that each stands for two: latent F + f is the negative part of latent f."""
    encoder_bias: Tensor | None = None
    """(n_latents,), float32: what it adds to the pre-activations, where it has that; of a gated SAE's, to those of the
    magnitudes."""

    @property
    def is_given(self) -> bool:
        """Whether its latents were given, so that `read` needs no activations."""
        return self.table is not None

    @torch.no_grad()
    def read(self, split: str, start: int, stop: int, acts_ND: Tensor | None = None) -> Latents:
        """Latents at the scored positions start, ..., stop - 1 of a split.

        acts_ND: (stop - start, d_in), their activations; not looked at where latents were given.
        Raises ValueError for positions that are not there, and when `encode` gives anything but finite latents of them.
        """
        if self.table is not None:
            return self.table.rows(split, start, stop)
        if acts_ND is None or len(acts_ND) != stop - start:
            n = 0 if acts_ND is None else len(acts_ND)
            raise ValueError(f"{self.name} reads the activations of {stop - start} positions, but {n} were given")
        given, advice = f"the encode of {self.name} gave", "latents only, one row for each it reads"
        latents = _matrix((self.encode_sparse or self.encode)(acts_ND), len(acts_ND), given, advice)
        if self.W_dec is not None and len(self.W_dec) != latents.n_latents:
            raise ValueError(
                f"the encode of {self.name} gave {latents.n_latents} latents, but its W_dec has shape "
                f"{tuple(self.W_dec.shape)}; W_dec is (n_latents, d_out), so transpose one that is not"
            )
        return latents


class GivenLatents:
    """Latents that were given instead of computed: those of each split's scored positions."""

    def __init__(self, splits: Mapping[str, Latents]) -> None:
        """splits: latents of every split, the same number of latents in each."""
        self.splits = dict(splits)

    def rows(self, split: str, start: int, stop: int) -> Latents:
        """Latents at positions start, ..., stop - 1 of a split. Raises ValueError for positions that are not there."""
        if split not in self.splits:
            raise ValueError(f"unknown split '{split}'; the splits are {', '.join(self.splits)}")
        latents = self.splits[split]
        if not 0 <= start <= stop <= latents.n_positions:
            raise ValueError(f"positions {start}..{stop} are not within the {latents.n_positions} of {split}")
        if (start, stop) == (0, latents.n_positions):
            return latents
        return _rows(latents, start, stop)

    def encode(self, x_ND: Tensor) -> Any:
        """Always raises ValueError: there is nothing to compute latents with."""
        raise ValueError(
            f"latents given as an array are known at the scored positions only, not for other activations "
            f"{tuple(x_ND.shape)}; give the object that computed them"
        )


def as_latent_source(thing: Any, testbed: Testbed, name: str | None = None) -> LatentSource:
    """Wrap whatever gives latents of a testbed's activations as a `LatentSource`.

    thing: an SAE or transcoder (ours, SAELens, dictionary_learning), any object with `encode`, a `LatentSource`, or the
        path of a saved SAE. A torch module is moved to the testbed's device and put in evaluation mode, and stays so.
        Or latents: a numpy array, torch tensor (dense or sparse), scipy matrix or `Latents` of every scored position
        of train, then validation, then test, each in the order of `testbed.positions(split)`; or a mapping of these
        three names to one array each.
    name: what tables call it (default: its class's name).
    Raises ValueError for an object without `encode`, one of another width or hook point than the testbed's, one that
    is not ready for inference, and latents that are not finite or not one row for each position. Raises RunError for
    a path without an SAE.
    """
    if isinstance(thing, LatentSource):
        thing, name = thing.given, name or thing.name
    if isinstance(thing, str | Path):
        thing = load_sae(thing)
    if callable(getattr(thing, "encode", None)) and not isinstance(thing, type):
        return _from_object(thing, testbed, name or type(thing).__name__)
    if isinstance(thing, Mapping) or _is_array(thing):
        name = name or "given latents"
        table, two_sided = _table(thing, testbed, name)
        about = {"reads_labels": False, "given": thing, "table": table, "two_sided": two_sided}
        return LatentSource(name, table.encode, None, None, None, None, None, **about)
    given = f"the class {thing.__name__} itself" if isinstance(thing, type) else f"a {type(thing).__name__}"
    raise ValueError(
        f"{given} gives no latents: expected an object with `encode` ((positions, width) -> (positions, n_latents)), "
        f"an array of latents (positions, n_latents), or a mapping of {', '.join(SPLITS)} to such arrays"
    )


def _from_object(source: Any, testbed: Testbed, name: str) -> LatentSource:
    _check_ready(source, name)
    hook_name, stated = _stated(source, _HOOK_NAME), _stated(source, _D_IN)
    _check_hook_name(hook_name, testbed, name)
    if isinstance(source, nn.Module):
        source = source.to(testbed.model.gpt.device).eval()
    W_enc, W_dec = _weight(source, "W_enc", testbed), _weight(source, "W_dec", testbed)
    by_shape = None if W_enc is None else len(W_enc)
    d_in = by_shape if stated is None else int(stated)
    if d_in not in (None, testbed.width):
        why = " (by the shape of its weights: W_enc is (d_in, n_latents))" if stated is None else ""
        raise ValueError(
            f"{name} of width {d_in}{why} cannot be scored at {testbed.hook_name}, whose activations have width "
            f"{testbed.width}; give a testbed of the model and hook point it was trained on"
        )
    encode, decode = _calls(source, testbed)
    sparse = _calls(source, testbed, "encode_sparse")[0] if callable(getattr(source, "encode_sparse", None)) else None
    decode = decode if _reconstructs(source, W_dec, testbed) else None
    reads_labels = bool(getattr(source, "reads_labels", False))
    bias = _stated(source, _ENCODER_BIAS)
    bias_F = bias.detach().float().cpu() if isinstance(bias, Tensor) and bias.ndim == 1 else None
    if two_sided := _goes_below_zero(encode, testbed):
        encode, decode, sparse = _encoding_both(encode), decode and _decoding_both(decode), None
        W_dec = None if W_dec is None else torch.cat([W_dec, -W_dec])
        W_enc = None if W_enc is None else torch.cat([W_enc, -W_enc], dim=1)
        bias_F = None if bias_F is None else torch.cat([bias_F, -bias_F])
    else:
        encode, sparse = _never_below_zero(encode, name), sparse and _never_below_zero(sparse, name)
    weights = (W_dec, W_enc, d_in, hook_name, reads_labels, source)
    return LatentSource(name, encode, decode, *weights, sparse, two_sided=two_sided, encoder_bias=bias_F)


@torch.no_grad()
def _goes_below_zero(encode: Callable[[Tensor], Any], testbed: Testbed) -> bool:
    """Whether latents are below zero at the first train positions."""
    n = min(N_TRIED, len(testbed.positions("train")))
    return n > 0 and lowest(encode(testbed.read("train", 0, n, keep=False))) < 0


def _never_below_zero(encode: Callable[[Tensor], Any], name: str) -> Callable[[Tensor], Any]:
    def checked(x: Tensor) -> Any:
        z = encode(x)
        if lowest(z) < 0:
            raise ValueError(
                f"the encode of {name} gave latents below zero, which it did not at the first {N_TRIED} train "
                "positions; a latent is a classifier that says yes above zero: give its positive and its negative part "
                "as two latents"
            )
        return z

    return checked


def _encoding_both(encode: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    def both(x: Tensor) -> Tensor:
        z = encode(x)
        z_NF = z.to_dense() if isinstance(z, Tensor) else torch.as_tensor(z.toarray() if hasattr(z, "toarray") else z)
        return torch.cat([z_NF.clamp(min=0), (-z_NF).clamp(min=0)], dim=-1)

    return both


def _decoding_both(decode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def joined(z: Tensor) -> Tensor:
        above, below = z.chunk(2, dim=-1)
        return decode(above - below)

    return joined


def _check_ready(source: Any, name: str) -> None:
    """Raise ValueError for an SAE that would give other latents here than at inference."""
    normalization = _stated(source, ("cfg.normalize_activations",))
    if normalization in _BY_RUN:
        raise ValueError(
            f"{name} expects activations normalized by numbers it does not hold (cfg.normalize_activations is "
            f"'{normalization}'); fold them into its weights first, as fold_activation_norm_scaling_factor does"
        )
    if _stated(source, ("topk_threshold",)) is not None or _stated(source, ("calibrated",)) is False:
        raise ValueError(
            f"{name} is in training: it turns on the largest latents of a whole batch, so that those of one position "
            "depend on the others; give its inference form, with a threshold (`calibrate`, or load what "
            "save_inference_model wrote)"
        )
    if _threshold_never_set(source):
        raise ValueError(
            f"{name} has no threshold: it was never set, so that its latents are dense, or depend on the rest of the "
            "batch; save it and score its folder with `--calibrate` (`evaluate(folder, testbed, calibrate=True)`), or "
            "set its `threshold` to the value at which k latents are on per position on average"
        )


def _threshold_never_set(source: Any) -> bool:
    """Whether it is a batch-wise SAE of dictionary_learning whose one threshold is still at -1, or which has none."""
    threshold = _stated(source, ("threshold",))
    if threshold is None:
        return "BatchTopK" in type(source).__name__ and _stated(source, ("k",)) is not None
    used = inspect.signature(source.encode).parameters.get("use_threshold")
    if used is None or used.default is not True or not isinstance(threshold, Tensor | float | int):
        return False
    number = torch.as_tensor(threshold)
    return number.numel() == 1 and not number.item() >= 0


def _check_hook_name(hook_name: str | None, testbed: Testbed, name: str) -> None:
    if hook_name is None or hook_name == testbed.hook_name:
        return
    advice = f"score it on testbed.at('{hook_name}')"
    if hook_name not in hook_points(testbed.model.gpt):
        advice = (
            "this GPT has no such place: give a testbed of the model it was trained on, or correct the name it says"
        )
    raise ValueError(f"{name} says it reads {hook_name}, the testbed reads {testbed.hook_name}; {advice}")


def _reconstructs(source: Any, W_dec: Tensor | None, testbed: Testbed) -> bool:
    """Whether its decode reconstructs what its encode read: only those that write elsewhere state an output width."""
    hook_name_out, d_out = _stated(source, _HOOK_NAME_OUT), _stated(source, _D_OUT)
    if not callable(getattr(source, "decode", None)) or (W_dec is not None and W_dec.shape[1] != testbed.width):
        return False
    if hook_name_out is None and d_out is None:
        return True
    return hook_name_out == testbed.hook_name and d_out in (None, testbed.width)


def _calls(
    source: Any, testbed: Testbed, method: str = "encode"
) -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Tensor]]:
    """Its encode and decode for tensors on any device and of any dtype, heads side by side."""
    device, dtype = testbed.model.gpt.device, _dtype(source)
    heads = testbed.model.gpt.cfg.n_heads if _stated(source, ("hook_z_reshaping_mode",)) else None

    def cast(x: Any) -> Any:
        return x.to(device, dtype if x.is_floating_point() else None) if isinstance(x, Tensor) else x

    def encode(x: Tensor) -> Any:
        return _as_float32(getattr(source, method)(cast(x.unflatten(-1, (heads, -1)) if heads else x)))

    def decode(z: Tensor) -> Tensor:
        before = dict(getattr(source, "__dict__", {}))
        x_hat = _as_float32(torch.as_tensor(source.decode(cast(z))))
        # a normalizing SAE deletes the norms it has undone
        for key in before.keys() - getattr(source, "__dict__", {}).keys():
            setattr(source, key, before[key])
        return x_hat.flatten(-2) if heads else x_hat

    return encode, decode


def _as_float32(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x


def _dtype(source: Any) -> torch.dtype | None:
    """The dtype of its weights; None where it has none."""
    weights = [_stated(source, ("W_enc", "encoder.weight", "W_dec"))]
    if isinstance(source, nn.Module):
        weights += [*source.parameters(), *source.buffers()]
    return next((weight.dtype for weight in weights if isinstance(weight, Tensor) and weight.is_floating_point()), None)


def _weight(source: Any, name: str, testbed: Testbed) -> Tensor | None:
    """A matrix it holds by this name, or the transposed weight (out, in) of a linear layer."""
    own, linear = getattr(source, name, None), _stated(source, _LINEAR[name])
    for matrix, transposed in ((own, False), (linear, True)):
        if isinstance(matrix, np.ndarray | Tensor) and matrix.ndim == 2:
            tensor = torch.as_tensor(matrix).detach().to(testbed.model.gpt.device, torch.float32)
            return tensor.T if transposed else tensor
    return None


def _stated(source: Any, paths: tuple[str, ...]) -> Any:
    """The first of some dotted paths of attributes or keys that leads to something other than None; else None."""
    for path in paths:
        value = source
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        if value is not None:
            return value
    return None


def _is_array(thing: Any) -> bool:
    return isinstance(thing, np.ndarray | Tensor | Latents) or scipy.sparse.issparse(thing)


def _matrix(given: Any, n_rows: int, giver: str, advice: str, *, two_sided: bool = False) -> Latents:
    """Latents that were given. Raises ValueError unless they are a finite matrix of n_rows rows."""
    shape = tuple(given.shape) if _is_array(given) else None
    if shape is None or len(shape) != 2 or shape[0] != n_rows:
        what = f"a {type(given).__name__}" if shape is None else f"an array of shape {shape}"
        raise ValueError(f"{giver} {what}, but ({n_rows}, n_latents) was expected; give {advice}")
    try:
        return both_signs(given) if two_sided else as_latents(given)
    except ValueError as error:
        raise ValueError(f"{giver} what cannot be scored: {error}") from error


def _rows(latents: Latents, start: int, stop: int) -> Latents:
    wanted_N = np.zeros(latents.n_positions, bool)
    wanted_N[start:stop] = True
    return latents.select_rows(wanted_N)


def _table(given: Any, testbed: Testbed, name: str) -> tuple[GivenLatents, bool]:
    """The latents of every split, and whether each latent given stands for two, as some are below zero."""
    two_sided = any(lowest(part) < 0 for part in (given.values() if isinstance(given, Mapping) else [given]))
    n = {split: len(testbed.positions(split)) for split in SPLITS}
    by_split = ", ".join(f"{number} for {split}" for split, number in n.items())
    advice = f"one row for each row of testbed.activations(split): {by_split}, {sum(n.values())} in all, in this order"
    if not isinstance(given, Mapping):
        all_latents = _matrix(given, sum(n.values()), f"{name}:", advice, two_sided=two_sided)
        stops = np.cumsum(list(n.values())).tolist()
        by_split = {split: _rows(all_latents, stop - n[split], stop) for split, stop in zip(n, stops, strict=True)}
        return GivenLatents(by_split), two_sided
    if set(given) != set(SPLITS):
        raise ValueError(
            f"{name}: a mapping of {', '.join(map(repr, given)) or 'nothing'} was given, but one of exactly "
            f"{', '.join(map(repr, SPLITS))} to latents was expected; give those of every split, and only those"
        )
    splits = {
        split: _matrix(given[split], n[split], f"{name}: for {split}", advice, two_sided=two_sided) for split in SPLITS
    }
    if len({latents.n_latents for latents in splits.values()}) > 1:
        numbers = ", ".join(f"{latents.n_latents} for {split}" for split, latents in splits.items())
        raise ValueError(f"{name}: {numbers} latents were given; give the same latents, in the same order, for each")
    return GivenLatents(splits), two_sided
