"""SAEs as the published sae_bench reads them: the same latents, decoder rows of norm 1."""

import copy
from types import SimpleNamespace
from typing import Any

from scipy.sparse import csr_array
from torch import Tensor, nn

from boardgame_sae.saes.exchange import shared
from boardgame_sae.saes.sae import SAE


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

    def encode_sparse(self, x_ND: Tensor) -> Tensor | csr_array:
        """The same of (N, d_in), without gradient: compressed rows where few latents are on, else dense."""
        z_NF = self.sae.encode_sparse(x_ND)
        return z_NF * self.norms_F if isinstance(z_NF, Tensor) else csr_array(z_NF.multiply(self.norms_F.numpy()))

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
        "context_size": facts.context_size,
        "architecture": facts.architecture,
        "apply_b_dec_to_input": sae.cfg.subtract_b_dec,
        "normalize_activations": "none",
        "dtype": str(sae.dtype).removeprefix("torch."),
        "device": str(sae.device),
        "prepend_bos": facts.prepend_bos,
        "seqpos_slice": (None,),
        "model_from_pretrained_kwargs": {},
        "dataset_path": sae.metadata.get("dataset_path", ""),
        "dataset_trust_remote_code": False,
    }
    return SAEBenchConfig(**{**values, **fields})
