"""Sparse autoencoders: every architecture behind one interface.

An SAE writes an activation x as a sum of few directions out of many: latents z = encode(x), non-negative and mostly
zero, and x_hat = z W_dec + b_dec, the rows of W_dec of norm 1. All architectures minimise E|x - x_hat|^2 and differ in
how they keep z sparse. `boardgame-sae train-sae --help` lists them with a line each; each module of `architectures/`
explains its own in a paragraph, with its loss, its source and what peers do otherwise.

One SAE, from making to using:

    sae = make_sae("batch_topk", d_model=128, n_latents=1024, k=32)
    loss = sae.loss(x, step=0)              loss.total, .reconstruction, .sparsity, .auxiliary; loss.total.backward()
    sae.calibrate([x])                      after training: the threshold that replaces the batch
    sae.save(folder)                        its inference form: a JumpReLU with that threshold
    load_sae(folder).encode(x)              L0 is measured here; it need not be k

How it is built: `sae` has the interface, `registry` the architectures by name; `sparse` the latents that are on, which
every loss is computed from, and the fast paths on a CPU; `training` trains many SAEs on one stream, resamples dead
latents and calibrates thresholds; `exchange` reads and writes the formats of other libraries.
"""

from boardgame_sae import front_door

_NAMES, __getattr__ = front_door(__name__, __file__)


def __dir__() -> list[str]:
    return _NAMES
