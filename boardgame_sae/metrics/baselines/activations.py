"""Floors: the GPT's own activations as latents, MLP neurons and residual channels."""

import torch.nn.functional as F
from torch import Tensor, cat, eye, nn

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.metrics.baselines.registry import Baseline, Look, Made, register
from boardgame_sae.testbeds.testbed import Testbed


class Neurons(nn.Module):
    """The hook point's own activations as latents; only positive ones are on."""

    def encode(self, x_ND: Tensor) -> Tensor:
        """The activations (N, width), negative ones set to zero."""
        return F.relu(x_ND)


class Channels(nn.Module):
    """Each channel of the hook point as two latents, its positive and its negative part."""

    def encode(self, x_ND: Tensor) -> Tensor:
        """(N, 2 * width)."""
        return cat([F.relu(x_ND), F.relu(-x_ND)], dim=1)


class ChannelSAE(Channels):
    """The same with a decoder, so that scores of decoders have a floor: it gives back the activations exactly.

    Neurons have none: what they write is not what they are.
    """

    W_enc: Tensor
    """(width, 2 * width): the channels, and the channels turned round."""
    W_dec: Tensor
    """(2 * width, width): likewise."""

    def __init__(self, width: int) -> None:
        """width: of the activations."""
        super().__init__()
        self.register_buffer("W_dec", cat([eye(width), -eye(width)]))
        self.register_buffer("W_enc", cat([eye(width), -eye(width)], dim=1))

    def decode(self, z_NF: Tensor) -> Tensor:
        """The activations (N, width)."""
        above_ND, below_ND = z_NF.chunk(2, dim=-1)
        return above_ND - below_ND


def mlp_neurons(testbed: Testbed) -> Made:
    """The MLP neurons of the block that the testbed's hook point is in."""
    return Made("MLP neurons", Neurons(), testbed.at(f"blocks.{layer_of(testbed.hook_name)}.mlp.hook_post"))


def residual_channels(testbed: Testbed) -> Made:
    """The channels of the testbed's own hook point."""
    return Made("residual channels", ChannelSAE(testbed.width), testbed)


register(
    Baseline(
        kind="neurons",
        title="MLP neurons",
        label="MLP neurons",
        role="floor",
        order=5,
        look=Look("#666666", "s", "--"),
        has_l0=False,
        of_testbed=mlp_neurons,
    )
)
register(
    Baseline(
        kind="residual",
        title="residual channels",
        label="residual channels",
        role="floor",
        order=6,
        look=Look("#666666", "^", ":"),
        has_l0=False,
        of_testbed=residual_channels,
    )
)
