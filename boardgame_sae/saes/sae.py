"""What every sparse autoencoder here is: encode, decode, loss, save.

    latents z = encode(x)      (..., d_model) -> (..., n_latents), non-negative, mostly zero
    x_hat     = decode(z)      back again: z @ W_dec + b_dec, the rows of W_dec of norm 1

A new architecture is one file in `architectures/`: a config class, and under `@architecture` a subclass of `SAE` that
says which latents are on (`rule`), what their activations are (`latents`) and what is minimised (`reconstruct`,
`sparsity`, `auxiliary`). `loss` puts these together, on all latents or on the active ones alone (`sparse/`).
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from boardgame_sae.config import to_mapping
from boardgame_sae.files import write_json
from boardgame_sae.model.exchange.sharing import Card, Shared
from boardgame_sae.notebook import table
from boardgame_sae.registry import Registry
from boardgame_sae.saes.configs.sae import SAEConfig
from boardgame_sae.saes.sparse.active_latents import Active, Rule, Way, activate
from boardgame_sae.saes.sparse.autograd import drop_parallel, normalize_rows
from boardgame_sae.saes.training.adam import Adam
from boardgame_sae.testbeds.shipped import sae_here
from boardgame_sae.weights import write_tensors

WEIGHTS_FILE, CONFIG_FILE = "sae.safetensors", "cfg.json"
Form: TypeAlias = Literal["relu", "topk", "jumprelu", "gated"]
"""What an SAE computes at inference, of what other libraries know. Each is also the name of the architecture here that
computes just that, which is what reading their files gives."""


_TOLD = {"hook point": "hook_name", "game": "game", "GPT": "model", "testbed": "testbed", "context": "context_size"}
"""What a card says of an SAE's metadata, and the names that it has there."""
_TRAINING = ("n_activations", "batch_size", "lr", "source", "seed")
"""What a card says of an SAE's training."""
OPENERS: Registry[Callable[..., "SAE"]] = Registry("way to open SAEs", "boardgame_sae.saes")
"""What opens saved SAEs, `saes.load`, registers itself here: it knows the architectures, which are made of `SAE`."""


class Loss(NamedTuple):
    """A training loss and its parts, each a scalar tensor, and what they were computed from."""

    total: Tensor
    """What is minimised."""
    reconstruction: Tensor
    """Mean over the batch of the squared error, summed over dimensions (of prefixes: the mean over them)."""
    sparsity: Tensor
    """The sparsity penalty, coefficient and warm-up included."""
    auxiliary: Tensor
    """Any further term, coefficient included."""
    active: Active
    """Where latents may be on in the batch."""
    z: Tensor
    """Their activations there."""
    x_hat_ND: Tensor
    """The reconstruction."""


class SAE(nn.Module, Shared["SAE"]):
    """A sparse autoencoder. A subclass says which latents are on, what their activations are, and what is minimised."""

    Config: ClassVar[type[SAEConfig]]
    """Its config class, set by `@architecture`."""
    colour: ClassVar[str]
    """Colour in figures, `#RRGGBB`, set by `@architecture`; never inherited."""
    marker: ClassVar[str]
    """Marker in figures, in matplotlib's words; likewise."""
    form: ClassVar[Form | None] = None
    """What it computes at inference, so that it can be exported; None: nothing that other libraries know."""
    example: ClassVar[Mapping[str, Any]] = {}
    """Fields with which a small SAE, of 40 latents, finds the 20 directions of which toy activations of width 12 are
    made, two at a time. The contract tests train it so."""
    trains: ClassVar[bool] = True
    """Whether there is anything to train."""
    grad_clip: ClassVar[float | None] = None
    """Maximum norm of the gradient, or None."""
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    """Adam's."""
    learning_rates: ClassVar[tuple[float, float, float]] = (3e-3, 2e-3, 1e-3)
    """Peak learning rates that are good at 1, 10 and 100 million activations (`saes/training/recipe.py`)."""
    unit_decoder: ClassVar[bool] = True
    """Whether training keeps the decoder's rows at norm 1."""
    encoder_scale: ClassVar[float] = 1.0
    """Initial norm of the encoder's columns."""
    decoder_scale: ClassVar[float] = 1.0
    """Initial norm of the decoder's rows."""
    per_latent: ClassVar[tuple[str, ...]] = ("b_enc",)
    """Names of what has one value per latent, in the units of the activations."""
    set_by_calibration: ClassVar[tuple[str, ...]] = ()
    """Names of what is NaN until `calibrate` sets it."""
    tokens_since_fired_F: Tensor

    def __init__(self, cfg: SAEConfig) -> None:
        """Decoder rows in random directions; the encoder's columns are the same directions."""
        super().__init__()
        self.cfg: Any = cfg
        self.metadata: dict[str, Any] = {}
        self.way: Way = "auto"
        generator = torch.Generator().manual_seed(cfg.seed)
        directions_FD = F.normalize(torch.randn(cfg.n_latents, cfg.d_model, generator=generator), dim=1)
        self.W_dec = nn.Parameter(directions_FD * self.decoder_scale)
        # (d_model, n_latents), but stored latent by latent, as gradients of few active latents are written
        self.W_enc = nn.Parameter((directions_FD * self.encoder_scale).T)
        self.b_enc = nn.Parameter(torch.zeros(cfg.n_latents))
        self.b_dec = nn.Parameter(torch.zeros(cfg.d_model))
        self.register_buffer("tokens_since_fired_F", torch.zeros(cfg.n_latents, dtype=torch.int64))
        self.n_steps = 0

    def extra_repr(self) -> str:
        """What stands in the brackets of its repr: its size, and what sets how sparse it is."""
        sparsity = self.cfg.sparsity_field_of(to_mapping(self.cfg))
        names = ["d_model", "n_latents", *([sparsity] if sparsity else [])]
        return ", ".join(f"{name}={getattr(self.cfg, name)}" for name in names)

    def _repr_html_(self) -> str:
        return table(self.cfg.architecture, [*to_mapping(self.cfg).items(), *self.metadata.items()])

    @abstractmethod
    def rule(self) -> Rule:
        """Which latents are on at inference, by their pre-activations."""

    def training_rule(self, step: int) -> Rule:  # noqa: ARG002 (for architectures with a schedule)
        """Which latents the loss sees."""
        return self.rule()

    def latents(self, active: Active) -> Tensor:
        """Activations of the latents that may be on."""
        return active.pre

    def activate(self, x_ND: Tensor, rule: Rule) -> Active:
        """The latents that a rule turns on among (x - b_dec) W_enc + b_enc. Raises ValueError for another width."""
        self._check_width(x_ND)
        shift = self.b_dec if self.cfg.subtract_b_dec else None
        return activate(x_ND, self.W_enc, self.b_enc, shift, rule, self.way)

    def encode(self, x: Tensor) -> Tensor:
        """Latents (..., n_latents) of activations (..., d_model). Raises ValueError for another width."""
        self._check_width(x)
        active = self.activate(x.reshape(-1, x.shape[-1]), self.rule())
        return active.to_dense(self.latents(active)).view(*x.shape[:-1], self.cfg.n_latents)

    @torch.no_grad()
    def encode_sparse(self, x_ND: Tensor) -> Tensor | csr_array:
        """`encode` of (N, d_model), without gradient: compressed rows where few latents are on, else dense.

        Raises ValueError for another width.
        """
        active = self.activate(x_ND, self.rule())
        return active.to_matrix(self.latents(active))

    def decode(self, z: Tensor) -> Tensor:
        """Activations (..., d_model) reconstructed from latents (..., n_latents)."""
        return z @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction of x. Raises ValueError for another width."""
        return self.decode(self.encode(x))

    def loss(self, x_ND: Tensor, step: int = 0) -> Loss:
        """The training loss of a batch (N, d_model) at a step; changes nothing. Raises ValueError for another width."""
        active = self.activate(x_ND, self.training_rule(step))
        z = self.latents(active)
        x_hat_ND, reconstruction = self.reconstruct(x_ND, active, z)
        sparsity = self.sparsity(active, z, step)
        auxiliary = self.auxiliary(x_ND, active, x_hat_ND.detach(), step)
        return Loss(reconstruction + sparsity + auxiliary, reconstruction, sparsity, auxiliary, active, z, x_hat_ND)

    def reconstruct(self, x_ND: Tensor, active: Active, z: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction (N, d_model), and the error to minimise."""
        x_hat_ND = active.decode(z, self.W_dec, self.b_dec)
        return x_hat_ND, squared_error(x_hat_ND, x_ND)

    def sparsity(self, active: Active, z: Tensor, step: int) -> Tensor:  # noqa: ARG002 (TopK has none)
        """The sparsity penalty."""
        return self.b_dec.new_zeros(())

    def auxiliary(self, x_ND: Tensor, active: Active, x_hat_ND: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """Any further term; x_hat_ND comes without gradient."""
        return self.b_dec.new_zeros(())

    @torch.no_grad()
    def begin_training(self, n_steps: int, first_ND: Tensor) -> None:
        """Called once before step 0, and again before a resume, with the number of steps and the first batch.

        Raises ValueError for activations of another width.
        """
        self._check_width(first_ND)
        self.n_steps = n_steps
        if self.cfg.b_dec_start == "geometric_median":
            self.b_dec.copy_(geometric_median(first_ND))

    @torch.no_grad()
    def after_step(self, step: int, loss: Loss) -> None:  # noqa: ARG002 (for architectures with a schedule)
        """Called after each optimiser step, with the loss before it."""
        fired_F = loss.active.counts_F(loss.z) > 0
        self.tokens_since_fired_F += loss.active.shape[0]
        self.tokens_since_fired_F.masked_fill_(fired_F, 0)

    @torch.no_grad()
    def constrain_gradient(self) -> None:
        """Drop the part of the decoder's gradient that would change the norm of its rows."""
        if self.unit_decoder and self.W_dec.grad is not None:
            drop_parallel(self.W_dec.grad, self.W_dec)

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the parameters back to where they must lie; called after each optimiser step."""
        if self.unit_decoder:
            normalize_rows(self.W_dec)

    def refresh(self, step: int, x_ND: Tensor, optimizer: Adam) -> None:
        """Give dead latents new weights, where that is due; called after each step."""

    @property
    def calibrated(self) -> bool:
        """Whether all that inference needs is set, a batch-wise SAE's threshold: else latents depend on the batch."""
        return True

    def calibrate(self, batches: Sequence[Tensor]) -> None:
        """Set, after training, what inference needs and only data can tell (BatchTopK's threshold)."""

    def inference(self) -> "SAE":
        """The simplest SAE with the same latents, decoder rows of norm 1; what `save` writes."""
        return self

    @torch.no_grad()
    def fold_scale(self, scale: float) -> None:
        """Turn an SAE of activations divided by `scale` into one of raw activations; latents grow by `scale`."""
        for name in (*self.per_latent, "b_dec"):
            getattr(self, name).mul_(scale)

    @torch.no_grad()
    def fold_norms(self) -> None:
        """Give every decoder row norm 1 and its latent the norm as a factor; the reconstruction stays.

        Except that the largest of some latents are then chosen by their new sizes (as SAELens' TopK chooses).
        """
        norms_F = self.W_dec.norm(dim=1).clamp(min=1e-8)
        self.W_dec /= norms_F[:, None]
        for name in ("W_enc", *self.per_latent):
            getattr(self, name).mul_(norms_F)

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

    @property
    def trained_as(self) -> dict[str, Any]:
        """The config it was trained with, as plain data: `cfg` may be that of its simpler inference form."""
        return self.metadata.get("trained_as", to_mapping(self.cfg))

    def save(self, folder: str | Path) -> None:
        """Write the inference form as `sae.safetensors` and `cfg.json` (config and metadata) into a folder.

        Raises RunError when the disk is full.
        """
        folder, simple = Path(folder), self.inference()
        write_tensors(folder / WEIGHTS_FILE, simple.state_dict())
        metadata = {**self.metadata, "trained_as": self.trained_as}
        write_json(folder / CONFIG_FILE, {**to_mapping(simple.cfg), "metadata": metadata})

    @classmethod
    def load(cls, folder: str | Path, *, uncalibrated: bool = False) -> "SAE":
        """`load_sae`: the SAE in a folder, of whichever architecture and library it is."""
        return OPENERS.find("load_sae")(folder, uncalibrated=uncalibrated)

    @classmethod
    def find_here(cls, name: str | Path) -> Path | None:
        """The folder here that a name means, also that of an SAE that ships; None where there is none."""
        return sae_here(name)

    def describe(self) -> Card:
        """What its card says when it is shared."""
        trained, told = self.trained_as, self.metadata
        sparsity = self.cfg.sparsity_field_of(to_mapping(self.cfg))
        facts = [
            ("architecture", trained["architecture"]),
            ("width of the activations", self.cfg.d_model),
            ("latents", self.cfg.n_latents),
            *([(sparsity, getattr(self.cfg, sparsity))] if sparsity else []),
            *((name, told.get(key)) for name, key in _TOLD.items()),
            *((f"training: {name}", value) for name, value in told.get("training", {}).items() if name in _TRAINING),
            *((f"at inference: {name}", f"{value:.4g}") for name, value in told.get("inference", {}).items()),
        ]
        tags = ["sparse-autoencoder", "mechanistic-interpretability", "board-games", trained["architecture"]]
        return Card(f"A sparse autoencoder: {trained['architecture']}", tags, facts, 'sae = bgs.load_sae("{name}")')


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over all leading axes of the squared error, summed over the last."""
    return F.mse_loss(x_hat, x, reduction="sum") / max(1, x.numel() // x.shape[-1])


def geometric_median(x_ND: Tensor, n_iterations: int = 100, tolerance: float = 1e-5) -> Tensor:
    """The point (D,) with the smallest summed distance to some points (N, D), by Weiszfeld's iteration."""
    point_D = x_ND.mean(0)
    for _ in range(n_iterations):
        weights_N1 = 1 / (x_ND - point_D).norm(dim=1, keepdim=True).clamp(min=1e-8)
        moved_D = (x_ND * weights_N1).sum(0) / weights_N1.sum()
        if (moved_D - point_D).norm() < tolerance:
            return moved_D
        point_D = moved_D
    return point_D
