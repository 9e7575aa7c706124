"""Sparse autoencoders: every architecture behind one interface.

An SAE writes an activation x as a sum of few directions out of many: latents z = encode(x), non-negative and mostly
zero, and x_hat = z W_dec + b_dec. All architectures minimise E|x - x_hat|^2 and differ in how they keep z sparse. Each
module teaches its own in a paragraph, with its loss, its source and what peers do otherwise:

| architecture | latents | added to E|x - x_hat|^2 | module |
| --- | --- | --- | --- |
| `relu` | ReLU(pre) | c E sum z | `relu` |
| `relu_april` | ReLU(pre), free decoder | c E sum z_f |W_dec,f| | `relu` |
| `p_anneal` | ReLU(pre) | c_p E sum z^p, p from 1 down to 0.2 | `p_anneal` |
| `gated` | open gate times magnitude | c E sum pi + E|x - x_hat(pi)|^2, pi the gate's activations | `gated` |
| `gated_p_anneal` | the same | c_p E sum pi^p + the same | `gated` |
| `topk` | k largest of a position | AuxK: dead latents rebuild the error | `topk` |
| `batch_topk` | k N largest of a batch; a threshold at inference | AuxK | `topk` |
| `jumprelu` | pre where above a learned threshold | c (L0 / target - 1)^2, or c L0, or c E sum tanh | `jumprelu` |
| `matryoshka_batch_topk` | as batch_topk | AuxK; the error is the mean over nested dictionaries | `matryoshka` |
| `matryoshka` | ReLU(pre) | c E sum z; the error is the mean over nested dictionaries | `matryoshka` |
| `identity`, `random` | both signs of channels; random directions | nothing: the floors of a score | `baselines` |

with pre = (x - b_dec) W_enc + b_enc, c the sparsity coefficient, rows of W_dec of norm 1.

One SAE, from making to using:

    sae = make_sae("batch_topk", d_model=128, n_latents=1024, k=32)
    loss = sae.loss(x, step=0)              loss.total, .reconstruction, .sparsity, .auxiliary; loss.total.backward()
    sae.calibrate([x])                      after training: the threshold that stands for the batch
    sae.save(folder)                        its inference form: a JumpReLU with that threshold
    load_sae(folder).encode(x)              L0 is what it is here, not what k says

How it is built: `sae` has the interface and the registry; `active` the latents that are on, which every loss is written
on; `sparse` and `kernels` the fast paths on a CPU; `train` many SAEs on one stream; `resample`, `calibration` what
happens to dead latents and after training; `exchange` the formats of SAELens and dictionary_learning.
"""

from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import architectures, make_sae
from boardgame_sae.saes.sae import SAE

__all__ = ["SAE", "architectures", "load_sae", "make_sae"]
