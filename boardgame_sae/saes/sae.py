"""What every sparse autoencoder here is: encode, decode, loss, save, load; and the registry of architectures.

    latents z = encode(x)      (..., d_model) -> (..., n_latents), non-negative, mostly zero
    x_hat     = decode(z)      back again: z @ W_dec + b_dec, the rows of W_dec of norm 1

A new architecture is one file: a config class, a subclass of `SAE` with `encode` and `loss`, and `@architecture`.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from boardgame_sae.config import ConfigError, config, from_mapping, to_mapping
from boardgame_sae.runs import RunError, read_json, write_json, writing

WEIGHTS_FILE, CONFIG_FILE = "sae.safetensors", "cfg.json"


class Loss(NamedTuple):
    """A training loss and its parts, each a scalar tensor."""

    total: Tensor
    """What is minimised."""
    reconstruction: Tensor
    """Mean over the batch of the squared error, summed over dimensions."""
    sparsity: Tensor
    """The sparsity penalty, coefficient and warm-up included."""
    auxiliary: Tensor
    """Any further term, coefficient included."""
    latents_NF: Tensor
    """The latents of the batch."""


@config
class SAEConfig:
    """What every architecture has."""

    architecture: str
    """A registered architecture."""
    d_model: int
    """Width of the activations."""
    n_latents: int
    """Latents of the dictionary."""
    seed: int = 0
    """Seed of the initial weights."""

    def __post_init__(self) -> None:
        if self.d_model < 1 or self.n_latents < 1:
            raise ValueError("d_model and n_latents must be at least 1")

    @property
    def d_in(self) -> int:
        """d_model, as SAELens calls it."""
        return self.d_model

    @property
    def d_sae(self) -> int:
        """n_latents, as SAELens calls it."""
        return self.n_latents


class SAE(nn.Module, ABC):
    """A sparse autoencoder. Subclasses say how latents are chosen and what is minimised."""

    Config: ClassVar[type[SAEConfig]]
    grad_clip: ClassVar[float | None] = None
    """Greatest norm of the gradient, or None."""

    def __init__(self, cfg: SAEConfig) -> None:
        """Unit decoder rows in random directions; the encoder is `encoder_scale` times their transpose."""
        super().__init__()
        self.cfg: Any = cfg
        self.metadata: dict[str, Any] = {}
        generator = torch.Generator().manual_seed(cfg.seed)
        directions_FD = F.normalize(torch.randn(cfg.n_latents, cfg.d_model, generator=generator), dim=1)
        self.W_dec = nn.Parameter(directions_FD)
        self.W_enc = nn.Parameter(directions_FD.T.contiguous() * self.encoder_scale)
        self.b_enc = nn.Parameter(torch.zeros(cfg.n_latents))
        self.b_dec = nn.Parameter(torch.zeros(cfg.d_model))
        self.register_buffer("tokens_since_fired_F", torch.zeros(cfg.n_latents, dtype=torch.int64))
        self.n_steps = 0

    encoder_scale: ClassVar[float] = 1.0
    tokens_since_fired_F: Tensor

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Latents (..., n_latents) of activations (..., d_model)."""

    def project(self, x: Tensor) -> Tensor:
        """(x - b_dec) W_enc + b_enc, with b_dec taken through W_enc first: x then needs no gradient of its own."""
        return F.linear(x, self.W_enc.T, self.b_enc - self.b_dec @ self.W_enc)

    def decode(self, z: Tensor) -> Tensor:
        """Activations (..., d_model) that latents (..., n_latents) stand for."""
        return z @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction of x."""
        return self.decode(self.encode(x))

    @abstractmethod
    def loss(self, x_ND: Tensor, step: int = 0) -> Loss:
        """The training loss of a batch (N, d_model) at a step; changes nothing but gradients."""

    def begin_training(self, n_steps: int, first_ND: Tensor) -> None:
        """Told once, before step 0 (and again before a resume): how many steps, and the first batch."""
        self.n_steps = n_steps
        self._check_width(first_ND)

    def after_step(self, step: int, loss: Loss) -> None:  # noqa: ARG002 (for architectures with a schedule)
        """Told after each optimiser step."""
        fired_F = (loss.latents_NF.detach() > 0).any(0)
        self.tokens_since_fired_F += len(loss.latents_NF)
        self.tokens_since_fired_F.masked_fill_(fired_F, 0)

    @torch.no_grad()
    def constrain_gradient(self) -> None:
        """Drop the part of the decoder's gradient that would change the norm of its rows."""
        if self.W_dec.grad is not None:
            along_F1 = (self.W_dec.grad * self.W_dec).sum(1, keepdim=True)
            self.W_dec.grad -= along_F1 * self.W_dec

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Give every decoder row norm 1 again."""
        self.W_dec /= self.W_dec.norm(dim=1, keepdim=True).clamp(min=1e-8)

    @torch.no_grad()
    def fold_scale(self, scale: float) -> None:
        """Turn an SAE of activations divided by `scale` into one of raw activations; latents grow by `scale`."""
        self.b_enc *= scale
        self.b_dec *= scale

    def dead_F(self, window: int) -> Tensor:
        """bool (n_latents,): has not fired in the last `window` tokens of training."""
        return self.tokens_since_fired_F >= window

    def _check_width(self, x: Tensor) -> None:
        if x.shape[-1] != self.cfg.d_model:
            raise ValueError(
                f"this SAE takes activations of width {self.cfg.d_model}, these have width {x.shape[-1]}; "
                "it belongs to another model or hook point"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.W_dec.dtype

    def save(self, folder: str | Path) -> None:
        """Write `sae.safetensors` and `cfg.json` (config and metadata) into a folder."""
        folder = Path(folder)
        with writing(folder / WEIGHTS_FILE) as temporary:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}, temporary
            )
        write_json(folder / CONFIG_FILE, {**to_mapping(self.cfg), "metadata": self.metadata})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a saved SAE of any registered architecture. Raises RunError naming the missing or damaged file."""
        folder = Path(folder)
        card = read_json(folder / CONFIG_FILE)
        if not isinstance(card, dict) or "architecture" not in card:
            raise RunError(f"{folder / CONFIG_FILE}: not an SAE's config; give the folder of a `train-sae` run")
        metadata = card.pop("metadata", {})
        try:
            kind = _find(card["architecture"], f"{folder / CONFIG_FILE}: ")
            sae = kind(from_mapping(kind.Config, card, str(folder / CONFIG_FILE)))
            sae.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunError(
                f"{folder / WEIGHTS_FILE}: missing, truncated or of another shape ({error}); train it again"
            ) from error
        sae.metadata = metadata
        return sae.eval()  # pyright: ignore[reportReturnType]


T = TypeVar("T", bound=type[SAE])
_architectures: dict[str, type[SAE]] = {}


def architecture(config_class: type[SAEConfig]) -> Callable[[T], T]:
    """Register an SAE class under the architecture its config class names."""

    def keep(cls: T) -> T:
        cls.Config = config_class
        _architectures[config_class.__dataclass_fields__["architecture"].default] = cls  # pyright: ignore[reportAttributeAccessIssue]
        return cls

    return keep


def architectures() -> tuple[str, ...]:
    """Names of the registered architectures."""
    import boardgame_sae.saes.every  # noqa: F401 (importing the modules registers them)

    return tuple(sorted(_architectures))


def _find(name: str, source: str = "") -> type[SAE]:
    known = architectures()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        mend = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"{source}unknown SAE architecture '{name}'; {mend}")
    return _architectures[name]


def config_class(architecture: str) -> type[SAEConfig]:
    """The config class of an architecture. Raises ConfigError for an unknown one."""
    return _find(architecture).Config


def sae_config(architecture: str, **fields: Any) -> SAEConfig:
    """The config of an architecture from plain fields. Raises ConfigError naming a bad one."""
    return from_mapping(_find(architecture).Config, {"architecture": architecture, **fields}, f"SAE {architecture}")


def sae_from_config(cfg: SAEConfig) -> SAE:
    """A new SAE, random weights."""
    return _find(cfg.architecture)(cfg)


def make_sae(architecture: str, **fields: Any) -> SAE:
    """A new SAE: `make_sae("topk", d_model=128, n_latents=1024, k=32)`. Raises ConfigError naming a bad field."""
    return sae_from_config(sae_config(architecture, **fields))


def load_sae(folder: str | Path) -> SAE:
    """Open a saved SAE."""
    return SAE.load(folder)
