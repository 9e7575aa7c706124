"""Which library's SAE a folder holds, and SAEs as SAEBench reads them: the same latents there and here.

    library               what its folder holds                       module
    boardgame_sae         cfg.json, sae.safetensors                   own
    SAELens               cfg.json, sae_weights.safetensors           sae_lens
    dictionary_learning   config.json, ae.pt                          dictionary_learning

    to_sae_lens(sae, "out")          sae_lens.SAE.load_from_disk("out")
    to_dictionary_learning(sae, d)   dictionary_learning.utils.load_dictionary(d, "cpu")
    load_sae(path)                   any of the three, recognised by what the folder holds
    saebench_view(sae)               what the published sae_bench runs on

None of them has to be installed. What is written is the inference form of an SAE: latents are always equal; how it was
trained is kept as metadata only.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange import dictionary_learning, sae_lens, shared
from boardgame_sae.saes.exchange.dictionary_learning import from_dictionary_learning
from boardgame_sae.saes.exchange.own import read_sae
from boardgame_sae.saes.exchange.sae_lens import from_sae_lens
from boardgame_sae.saes.sae import CONFIG_FILE, SAE, WEIGHTS_FILE

Library: TypeAlias = Literal["boardgame_sae", "sae_lens", "dictionary_learning"]
WRITERS: dict[str, Callable[[SAE, Path], None]] = {
    "sae_lens": sae_lens.to_sae_lens,
    "dictionary_learning": dictionary_learning.to_dictionary_learning,
}
"""What writes an SAE for each other library."""


def recognise(path: str | Path) -> Library:
    """Which library's SAE a folder (of dictionary_learning also a `.pt` file) holds, by what is in it.

    Raises RunError, saying what was looked for, when it is none.
    """
    path = Path(path)
    fields = _fields(path / CONFIG_FILE)
    if "n_latents" in fields or ("d_sae" not in fields and (path / WEIGHTS_FILE).exists()):
        return "boardgame_sae"
    if "d_sae" in fields or (path / sae_lens.WEIGHTS_FILE).exists():
        return "sae_lens"
    if dictionary_learning.weights_file(path).is_file():
        return "dictionary_learning"
    below = sorted(path.glob(f"*/{dictionary_learning.WEIGHTS_FILE}"))
    raise RunError(
        f"{path}: no SAE; looked for {WEIGHTS_FILE} (ours), {sae_lens.WEIGHTS_FILE} (SAELens) and "
        f"{dictionary_learning.WEIGHTS_FILE} (dictionary_learning); give the folder that holds one"
        + (f", such as {below[0].parent}" if below else "")
    )


def open_sae(path: str | Path) -> SAE:
    """Open a saved SAE of any of the libraries. Raises RunError when there is none, or it cannot be read."""
    readers = {"sae_lens": from_sae_lens, "dictionary_learning": from_dictionary_learning, "boardgame_sae": read_sae}
    return readers[recognise(path)](path)


def saebench_view(sae: SAE, **fields: Any) -> "SAEBenchView":
    """An SAE as the published sae_bench reads it. fields: more of its `cfg`, such as model_name or context_size."""
    return SAEBenchView(sae, fields)


class SAEBenchConfig(SimpleNamespace):
    """The `cfg` that sae_bench reads, and writes into."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields."""
        return dict(vars(self))


class SAEBenchView(nn.Module):
    """An SAE with decoder rows of norm 1 and the attributes that sae_bench reads; all others are the SAE's own.

    Latents are multiplied by the norms after they are chosen: folded in, the norms would change which k are largest.
    """

    norms_F: Tensor

    def __init__(self, sae: SAE, fields: dict[str, Any]) -> None:
        super().__init__()
        simple = copy.deepcopy(sae.inference())  # sae_bench moves and converts it
        norms_F = simple.W_dec.detach().norm(dim=1).clamp(min=1e-8)
        self.register_buffer("norms_F", norms_F)
        self.W_dec = nn.Parameter(simple.W_dec.detach() / norms_F[:, None], requires_grad=False)
        for name, weight in simple.named_parameters():
            if name in ("W_enc", *simple.per_latent):
                self.register_parameter(name, nn.Parameter(weight.detach() * norms_F, requires_grad=False))
        self.sae = simple
        self.cfg = _saebench_config(sae, fields)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("sae"), name)

    def encode(self, x: Tensor) -> Tensor:
        """Latents (..., d_sae) of activations (..., d_in)."""
        return self.sae.encode(x) * self.norms_F

    def decode(self, z: Tensor) -> Tensor:
        """Activations (..., d_in) reconstructed from latents."""
        return z @ self.W_dec + self.sae.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction of x."""
        return self.decode(self.encode(x))


def _saebench_config(sae: SAE, fields: dict[str, Any]) -> SAEBenchConfig:
    facts = shared.facts(sae)
    values = {
        "model_name": facts.model_name,
        "d_in": sae.cfg.d_model,
        "d_sae": sae.cfg.n_latents,
        "hook_layer": facts.layer,
        "hook_name": facts.hook_name,
        "hook_head_index": None,
        "context_size": sae.metadata.get("context_size"),
        "architecture": facts.architecture,
        "apply_b_dec_to_input": sae.cfg.subtract_b_dec,
        "normalize_activations": "none",
        "dtype": str(sae.dtype).removeprefix("torch."),
        "device": str(sae.device),
        "prepend_bos": False,
        "seqpos_slice": (None,),
        "model_from_pretrained_kwargs": {},
        "dataset_path": sae.metadata.get("dataset_path", ""),
        "dataset_trust_remote_code": False,
    }
    return SAEBenchConfig(**{**values, **fields})


def _fields(path: Path) -> dict[str, Any]:
    """The fields of a JSON file; none if it is missing, damaged or no mapping."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}
