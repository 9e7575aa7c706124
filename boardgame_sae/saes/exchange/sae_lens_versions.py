"""SAELens' configs of before version 6, in the names of version 6.

Then all fields stood side by side, under other names: `hook_point` for hook_name, `activation_fn_str` for
activation_fn; a TopK SAE was one with `activation_fn: topk`, later `architecture: topk`, its k in
`activation_fn_kwargs`; `normalize_activations` could be true or false. Like SAELens, a config without a version of 6 is
taken for one of these.
"""

from boardgame_sae.saes.exchange.fields import Fields

_RENAMED = {
    "hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"
}  # fmt: skip


def as_of_version_6(foreign: Fields) -> Fields:
    """The config with the names of version 6, `metadata` filled.

    Raises RunError naming the file and a field that is not of its kind, or an activation that SAEs here do not have.
    """
    old = Fields({_RENAMED.get(name, name): value for name, value in foreign.values.items()}, foreign.source)
    metadata, activation = foreign.mapping("metadata"), old.text("activation_fn", "relu")
    if activation not in ("relu", "topk"):
        raise old.error("activation_fn", "latents here are ReLUs, or the k largest of them")
    version = foreign.get("sae_lens_version") or metadata.get("sae_lens_version")
    major = str(version).removeprefix("v").split(".")[0]
    if major.isdigit() and int(major) >= 6:
        return Fields({"metadata": metadata, **foreign.values}, foreign.source)
    cfg = {"architecture": "standard", **old.values}
    kwargs = old.mapping("activation_fn_kwargs")
    if activation == "topk":
        cfg["architecture"] = "topk"
    if cfg["architecture"] == "topk" and "k" in kwargs:
        cfg["k"] = kwargs["k"]
    if isinstance(cfg.get("normalize_activations"), bool):
        cfg["normalize_activations"] = "expected_average_only_in" if cfg["normalize_activations"] else "none"
    cfg["metadata"] = {**{name: value for name, value in cfg.items() if name != "metadata"}, **metadata}
    return Fields(cfg, foreign.source)
