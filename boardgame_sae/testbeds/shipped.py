"""Testbeds that ship with the package, and their SAEs, by name: `othello-small`, `othello-small/topk-16`."""

import os
from pathlib import Path
from typing import Any

from boardgame_sae.config import Count, HookName, Name, record
from boardgame_sae.files import RunError, read_json, read_record
from boardgame_sae.foreign_names import advice
from boardgame_sae.model.exchange.hub import hub_folder
from boardgame_sae.runs.integrity import is_done

MANIFEST_FILE = "testbed.json"
"""The file that makes a folder a testbed."""
SAE_CARD_FILE = MODEL_CARD_FILE = "cfg.json"
"""What an SAE and a model are told by."""
SAES, SCORES, PROBES = "saes", "scores", "probes"
"""Folders inside a shipped testbed."""
_HERE = Path(__file__).parent
_PLACES = (_HERE / "data", _HERE.parents[1] / "data" / "testbeds")
"""Inside the package, where a wheel has only small ones; and beside it, for a checkout that cannot follow links."""


@record
class Manifest:
    """testbed.json: what a testbed is made of. Folders are relative to its own."""

    model: str
    """Folder of the GPT."""
    corpus: str
    """Folder of the games."""
    hook_name: HookName
    """Where activations are read."""
    properties: tuple[Name, ...]
    """Properties that are scored, the headline first."""
    n_games: Count
    """Games per split."""
    positions: Name
    """Where boards are read."""
    content: dict[Name, str]
    """Hashes of what the GPT and the games were when the testbed was made of them."""


def read_manifest(folder: Path) -> Manifest:
    """What a testbed's folder is made of. Raises RunError naming the file and the field that is missing or damaged."""
    path = folder / MANIFEST_FILE
    if folder.is_dir() and not path.exists():
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise RunError(f"{folder}: no testbed, as it has no {MANIFEST_FILE}; it holds {held}")
    return read_record(Manifest, path, "`boardgame-sae testbed` makes one")


def shipped_testbeds() -> dict[str, Path]:
    """Folders of the testbeds that ship, by name; $BOARDGAME_SAE_TESTBEDS names another folder of such folders.

    One that is still being packed is not among them.
    """
    own = os.environ.get("BOARDGAME_SAE_TESTBEDS")
    folders: dict[str, Path] = {}
    for place in ([Path(own)] if own else []) + list(_PLACES):
        for manifest in sorted(place.glob(f"*/{MANIFEST_FILE}")):
            if is_done(manifest.parent):
                folders.setdefault(manifest.parent.name, manifest.parent)
    return folders


def shipped_saes(testbed: Path) -> dict[str, Path]:
    """Folders of the SAEs in a testbed's folder, by name."""
    return {card.parent.name: card.parent for card in sorted((testbed / SAES).glob(f"*/{SAE_CARD_FILE}"))}


def find_testbed(name: str | Path) -> Path:
    """The folder of a testbed, given itself, the name of a shipped one, or of one on the hub, `hf:owner/name`.

    Raises RunError, listing those that ship, and as `hub_folder` does.
    """
    folder = hub_folder(name) or testbed_here(name)
    if folder is None:
        raise RunError(f"{name}: no such folder, and no shipped testbed of that name ({_shipped_here()})")
    return folder


def testbed_here(name: str | Path) -> Path | None:
    """The folder of a testbed, given itself or the name of a shipped one; None where there is neither."""
    known = shipped_testbeds()
    if str(name) in known and not (Path(name) / MANIFEST_FILE).exists():
        return known[str(name)]
    return Path(name) if Path(name).exists() else None


def shipped_with_model(model_hash: str | None) -> str | None:
    """The name of the shipped testbed whose GPT has a hash; None where none has."""
    for name, folder in shipped_testbeds().items():
        card = _fields(folder / read_manifest(folder).model / MODEL_CARD_FILE)
        if model_hash is not None and card.get("hash") == model_hash:
            return name
    return None


def _shipped_here() -> str:
    names = ", ".join(shipped_testbeds()) or "none"
    return f"these ship here: {names}; a wheel holds only small ones, a clone of the repository all"


def find_sae(name: str | Path) -> Path:
    """The folder of an SAE, given itself, the name of a shipped one, `TESTBED/SAE`, or of one on the hub.

    On the hub it is `hf:owner/name`, or `hf:owner/name/folder` where a repository holds several.
    A shipped name means the shipped SAE unless a folder of that name holds an SAE that was saved here: an export, or
    anything else that happens to be called so, hides none (`./TESTBED/SAE` is always a folder). What lies in a shipped
    SAE's folder has a name as well: `TESTBED/SAE/snapshots/0.1`, how it was after a tenth of its training.
    Raises RunError, listing those that ship, when there is neither such a folder nor such a shipped SAE, and as
    `hub_folder` does.
    """
    here = hub_folder(name) or sae_here(name)
    if here is not None:
        return here
    testbed, _, inside = str(name).partition("/")
    folder = shipped_testbeds().get(testbed)
    if folder is None:
        raise RunError(f"{name}: no such folder, and no SAE (TESTBED/SAE) of a shipped testbed ({_shipped_here()})")
    fix = advice(inside, shipped_saes(folder), "it has")
    raise RunError(
        f"{name}: the testbed {testbed} has no SAE '{inside}' ({fix}); a copy may leave out snapshots and SAEs, which "
        f"`make testbed-{testbed}` trains again"
    )


def sae_here(name: str | Path) -> Path | None:
    """The folder of an SAE, given itself or the name of a shipped one; None where there is neither."""
    testbed, _, inside = str(name).partition("/")
    sae, _, below = inside.partition("/")
    folder = shipped_testbeds().get(testbed)
    known = shipped_saes(folder) if folder is not None else {}
    if sae in known and (known[sae] / below).exists() and not _is_sae(Path(name)):
        return known[sae] / below
    return Path(name) if Path(name).exists() else None


def _is_sae(folder: Path) -> bool:
    """Whether a folder holds an SAE as we save it, by the card beside its weights."""
    card = _fields(folder / SAE_CARD_FILE)
    return "n_latents" in card and "architecture" in card


def context_size_of(model: str | None) -> int | None:
    """How many tokens the model of a shipped testbed reads at once, by its hash; None for any other."""
    for folder in shipped_testbeds().values() if model else ():
        card = _fields(folder / str(_fields(folder / MANIFEST_FILE).get("model")) / MODEL_CARD_FILE)
        if card.get("hash") == model:
            return card["gpt"]["n_ctx"]
    return None


def _fields(path: Path) -> dict[str, Any]:
    """The fields of a JSON file; none if it is missing, damaged or no mapping."""
    try:
        fields = read_json(path)
    except RunError:
        return {}
    return fields if isinstance(fields, dict) else {}
