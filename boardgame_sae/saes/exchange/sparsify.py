"""SAEs in sparsify's format: a folder of `cfg.json` and `sae.safetensors`.

    tensors   encoder.weight (F, D), encoder.bias (F,), W_dec (F, D), b_dec (D,)
    z         the k largest of ReLU((x - b_dec) W_enc + b_enc), W_enc the encoder's weight transposed
    x_hat     z W_dec + b_dec, the rows as they are stored; training holds them at norm 1

Early versions have a field `signed`: then the k largest by size are kept with their sign, and read here as a latent for
either sign. What SAEs here do not do is refused by name: `groupmax` (the largest of each of k groups of latents),
`transcode` (it reconstructs another place's activations), `skip_connection` (a matrix besides the latents).
"""

from pathlib import Path

from boardgame_sae.files import RunError, write_json
from boardgame_sae.saes.exchange import shared
from boardgame_sae.saes.exchange.fields import Fields
from boardgame_sae.saes.exchange.library import Library, Sign, config_fields, register, tensor_names
from boardgame_sae.saes.sae import SAE
from boardgame_sae.weights import read_tensors, without_wrappers, write_tensors

WEIGHTS_FILE, CONFIG_FILE = "sae.safetensors", "cfg.json"

_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
"""Our parameters, and their names there."""
_FIX = "give the folder that `save_to_disk` wrote"


def to_sparsify(sae: SAE, folder: str | Path) -> None:
    """Write an SAE so that sparsify's `SparseCoder.load_from_disk(folder)` opens it, with the same latents.

    Raises RunError for an SAE whose latents are not the k largest of each position, and where the folder holds another
    `cfg.json`.
    """
    simple, _ = shared.exportable(sae, ("topk",), "sparsify")
    folder = Path(folder)
    shared.refuse_other_config(folder, "num_latents")
    weights = shared.with_b_dec(simple, subtracted=True)
    weights["W_enc"] = weights["W_enc"].T
    cfg = {
        "activation": "topk",
        "expansion_factor": max(1, round(simple.cfg.n_latents / simple.cfg.d_model)),
        "normalize_decoder": shared.rows_of_norm_one(simple.W_dec),
        "num_latents": simple.cfg.n_latents,
        "k": simple.cfg.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": simple.cfg.d_model,
        shared.OURS: shared.card(sae),
    }
    write_tensors(folder / WEIGHTS_FILE, {theirs: weights[ours] for ours, theirs in _NAMES.items()})
    write_json(folder / CONFIG_FILE, cfg)


def from_sparsify(folder: str | Path) -> SAE:
    """Read an SAE in sparsify's format; its latents and reconstructions are those that sparsify computes.

    Raises RunError naming the file, the field and the fix for what is damaged or has no counterpart here.
    """
    folder = Path(folder)
    path = folder / WEIGHTS_FILE
    cfg = Fields.read(folder / CONFIG_FILE, _FIX)
    if cfg.text("activation", "topk") != "topk":
        raise cfg.error("activation", "SAEs here have no such activation, only topk")
    for field, why in (
        ("transcode", "a transcoder reconstructs other activations than it reads, an SAE here what it reads"),
        ("skip_connection", "an SAE here reconstructs from its latents alone"),
    ):
        if cfg.flag(field, False):
            raise cfg.error(field, why)
    signed, k, d_in = cfg.flag("signed", False), cfg.number("k", _FIX), cfg.number("d_in", _FIX)
    tensors = without_wrappers(read_tensors(path, "download or save the SAE again"))
    if tensors.keys() != set(_NAMES.values()):
        names = ", ".join(sorted(tensors))
        raise RunError(f"{path}: holds {names}, not {', '.join(_NAMES.values())}; {_FIX}")
    weights = {ours: tensors[theirs].float() for ours, theirs in _NAMES.items()}
    n_latents = len(weights["W_enc"])
    stated = cfg.get("num_latents") or d_in * cfg.number("expansion_factor", _FIX)
    if stated != n_latents:
        raise RunError(f"{cfg.source}: says that there are {stated} latents, {path.name} holds {n_latents}; {_FIX}")
    weights["W_enc"] = weights["W_enc"].T
    if signed:
        weights, n_latents = shared.two_sided(weights), 2 * n_latents
    sae = shared.rebuild(path, "topk", weights, d_model=d_in, n_latents=n_latents, k=k)
    foreign = {name: value for name, value in cfg.values.items() if name != shared.OURS}
    architecture = "abstopk" if signed else "topk"
    return shared.remember(sae, foreign, cfg.get(shared.OURS), {}, architecture=architecture, k=k)


def _sign(path: Path) -> Sign:
    fields = config_fields(path)
    if "d_in" in fields and ("num_latents" in fields or "expansion_factor" in fields):
        return Sign.CONFIG
    return Sign.CONFIG if "encoder.weight" in tensor_names(path / WEIGHTS_FILE) else Sign.NONE


register(Library("sparsify", "sparsify", WEIGHTS_FILE, _sign, from_sparsify, to_sparsify, ("topk",)))
