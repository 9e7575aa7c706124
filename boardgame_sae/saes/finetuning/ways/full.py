"""All weights of the SAE."""

from torch import nn

from boardgame_sae.saes.finetuning.ways.way import Settings, Splice, way


@way("full", gives_sae=True, constrained=True)
def full(splice: Splice, settings: Settings) -> dict[str, nn.Parameter]:  # noqa: ARG001 (every way is told them)
    """all weights of the SAE; gives an SAE"""
    if not splice.sae.trains:
        raise ValueError(
            f"SAEs of the architecture '{splice.sae.cfg.architecture}' are not trained, so there is nothing to "
            "fine-tune in them; an adapter or LoRA on the model can be trained beside one"
        )
    splice.sae.requires_grad_(True)
    return dict(splice.sae.named_parameters())
