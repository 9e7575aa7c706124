"""A testbed whose activations are known sums: each label that is true adds its own direction. So perfect SAEs exist."""

import copy

import numpy as np
import torch

from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.train import adam, training_step
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"


class PlantedTestbed(Testbed):
    """Activations = the sum of the (orthonormal) directions of the labels that are true, and noise."""

    directions_PD: torch.Tensor
    noise: float

    def _read(self, split, start, stop):
        labels_NP = torch.from_numpy(self.labels(split, start, stop)).float()
        seed = {"train": 1, "validation": 2, "test": 3}[split] * 10**6 + start
        noise_ND = torch.randn(len(labels_NP), self.width, generator=torch.Generator().manual_seed(seed))
        return labels_NP @ self.directions_PD + self.noise * noise_ND


def planted(corpus, *, properties=(), n_games=100, noise=0.1, width=256):
    """A planted testbed on the games of a corpus; its GPT is not trained and only gives the width."""
    cfg = GPTConfig(n_layers=1, d_model=width, n_heads=1, d_vocab=len(corpus.alphabet), n_ctx=corpus.n_ctx)
    card = {"game": corpus.game.name, "tokenization": corpus.tokenizer.name, "alphabet": list(corpus.alphabet)}
    model = GameModel(GPT(cfg).eval(), {**card, "hash": "planted"})
    testbed = PlantedTestbed(model, corpus, HOOK, properties=properties, n_games=n_games)
    n_labels = testbed.columns[-1].stop
    rows = np.linalg.qr(np.random.default_rng(0).normal(size=(width, n_labels)))[0].T
    testbed.directions_PD, testbed.noise = torch.from_numpy(rows).float(), noise
    return testbed


def perfect_sae(testbed):
    """The SAE whose latent p is on exactly where label p is true."""
    directions_PD = testbed.directions_PD
    sae = make_sae("jumprelu", d_model=testbed.width, n_latents=len(directions_PD))
    with torch.no_grad():
        sae.W_enc.copy_(directions_PD.T)
        sae.W_dec.copy_(directions_PD)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
        sae.get_parameter("threshold").fill_(0.5)
    return sae.eval()


def random_sae(testbed, n_latents=None, k=12, seed=5):
    """A TopK SAE with random weights, about the mean of the activations."""
    sae = make_sae("topk", d_model=testbed.width, n_latents=n_latents or 2 * testbed.width, k=k, seed=seed)
    with torch.no_grad():
        sae.b_dec.copy_(testbed.activations("train").mean(0))
    return sae.eval()


def trained_sae(testbed, n_latents=None, k=12, n_steps=300, seed=5):
    """A TopK SAE after some steps of training on the testbed's own train activations."""
    sae, acts_ND = random_sae(testbed, n_latents, k, seed).train(), testbed.activations("train")
    optimizer, generator = adam(sae, 3e-3), torch.Generator().manual_seed(seed)
    for step in range(n_steps):
        rows_N = torch.randint(len(acts_ND), (256,), generator=generator)
        training_step(sae, optimizer, acts_ND[rows_N], step, 3e-3)
    return sae.eval()


def permuted_sae(sae, seed=0):
    """The same SAE with the rows of its decoder shuffled: the same latents, which write something else."""
    shuffled = copy.deepcopy(sae)
    order = torch.randperm(sae.cfg.n_latents, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        shuffled.W_dec.copy_(sae.W_dec[order])
    return shuffled.eval()


def known_saes(testbed):
    """SAEs of known order: a perfect one, one that is trained, one that is random; and the trained one permuted."""
    perfect, trained = perfect_sae(testbed), trained_sae(testbed)
    return {"perfect": perfect, "trained": trained, "random": random_sae(testbed), "permuted": permuted_sae(trained)}


def worn_sae(testbed, wear=0.7, seed=0):
    """The perfect SAE with noise in its directions, of a norm of `wear` to their 1: better than chance, not good."""
    sae, generator = perfect_sae(testbed), torch.Generator().manual_seed(seed)
    noise_FD = torch.nn.functional.normalize(torch.randn(sae.W_dec.shape, generator=generator), dim=1)
    with torch.no_grad():
        sae.W_dec += wear * noise_FD
        sae.W_enc += wear * noise_FD.T
    return sae
