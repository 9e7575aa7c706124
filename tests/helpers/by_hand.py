"""What SAEs compute, one number at a time, in float64: nothing here comes from the package.

Numbers are scalars of torch, lists of lists of them stand for matrices, and torch differentiates the definitions.
"""

import torch


def weights_of(sae):
    """Copies of an SAE's parameters, by name, as nested lists of scalars, and the tensors that will hold gradients."""
    leaves = {
        name: weight.detach().double().clone().contiguous().requires_grad_() for name, weight in sae.named_parameters()
    }
    return {name: numbers(leaf) for name, leaf in leaves.items()}, leaves


def numbers(tensor):
    """A tensor as nested lists of scalars."""
    return [numbers(row) for row in tensor] if tensor.ndim else tensor


def frozen(matrix):
    """The same numbers without gradient."""
    return [frozen(row) for row in matrix] if isinstance(matrix, list) else matrix.detach()


def products(x, w, subtract=True):
    """(x - b_dec) W_enc."""
    return [
        [
            sum((x_D[d] - (w["b_dec"][d] if subtract else 0)) * w["W_enc"][d][f] for d in range(len(x_D)))
            for f in range(len(w["b_enc"]))
        ]
        for x_D in x
    ]


def pre_activations(x, w, subtract=True):
    """(x - b_dec) W_enc + b_enc."""
    return [[u + b for u, b in zip(u_F, w["b_enc"], strict=True)] for u_F in products(x, w, subtract)]


def relu(matrix):
    return [[value if value > 0 else value * 0 for value in row] for row in matrix]


def k_largest(matrix, k):
    """Each row's k largest values above zero, the others zero."""
    kept = []
    for row in matrix:
        places = sorted(range(len(row)), key=lambda f, row=row: -float(row[f].detach()))[:k]
        kept.append([value if f in places and value > 0 else value * 0 for f, value in enumerate(row)])
    return kept


def batch_largest(matrix, n):
    """The n largest values above zero of all, the others zero."""
    every = sorted(
        ((float(value.detach()), r, f) for r, row in enumerate(matrix) for f, value in enumerate(row)), reverse=True
    )
    places = {(r, f) for value, r, f in every[:n] if value > 0}
    return [[value if (r, f) in places else value * 0 for f, value in enumerate(row)] for r, row in enumerate(matrix)]


def decoded(z, w, end=None, bias=True):
    """z W_dec + b_dec, of the latents before `end`."""
    n_latents = len(z[0]) if end is None else end
    return [
        [
            sum(z_F[f] * w["W_dec"][f][d] for f in range(n_latents)) + (w["b_dec"][d] if bias else 0)
            for d in range(len(w["b_dec"]))
        ]
        for z_F in z
    ]


def squared_error(x, x_hat):
    """Mean over positions of the squared distance."""
    return sum((a - b) ** 2 for x_D, y_D in zip(x, x_hat, strict=True) for a, b in zip(x_D, y_D, strict=True)) / len(x)


def mean_sum(z):
    """Mean over positions of the sum of latents."""
    return sum(value for row in z for value in row) / len(z)


def power_penalty(z, p, norm):
    """Mean over positions of sum_f z_f^p, or of (sum_f z_f^p)^(1/p)."""
    sums = [sum(value**p for value in row if value > 0) for row in z]
    if norm == "lp":
        sums = [total ** (1 / p) for total in sums if not isinstance(total, int)]
    return sum(sums) / len(z)


def norm(row):
    return sum(value**2 for value in row) ** 0.5


def aux_k(x, x_hat, pre, w, dead, k):
    """How badly the k largest dead latents rebuild the error, as a share of its variance."""
    error = [[a - b for a, b in zip(x_D, y_D, strict=True)] for x_D, y_D in zip(x, frozen(x_hat), strict=True)]
    only_dead = [[value if f in dead else value.detach() * 0 for f, value in enumerate(row)] for row in pre]
    rebuilt = decoded(k_largest(only_dead, k), w, bias=False)
    means = [sum(row[d] for row in error) / len(error) for d in range(len(error[0]))]
    spread = sum((value - mean) ** 2 for row in error for value, mean in zip(row, means, strict=True))
    return squared_error(error, rebuilt) * len(error) / spread


def asleep(dead, z):
    """Those of some latents that are on at no position."""
    return [f for f in dead if not any(row[f] > 0 for row in z)]


def weaken(sae, latents):
    """Leave some latents positive, but never among the largest."""
    with torch.no_grad():
        sae.W_enc[:, latents] *= 0.02
        sae.b_enc[latents] = 0.01


def compare(sae, x_ND, step, definition, close=1e-9):
    """Loss, parts and every gradient of an SAE, both ways, against a definition.

    definition(x, w) returns reconstruction error, sparsity penalty, auxiliary term, and the latents z.
    """
    w, leaves = weights_of(sae)
    *parts, z = definition(numbers(x_ND.double()), w)
    parts = [torch.as_tensor(part, dtype=torch.float64) for part in parts]
    total = parts[0] + parts[1] + parts[2]
    total.backward()
    z_NF = torch.tensor([[float(value.detach()) for value in row] for row in z], dtype=torch.float64)
    for way in ("dense", "sparse"):
        sae.way = way
        sae.zero_grad()
        loss = sae.loss(x_ND, step)
        loss.total.backward()
        for name, expected in zip(("reconstruction", "sparsity", "auxiliary"), parts, strict=True):
            found = getattr(loss, name).detach().double()
            torch.testing.assert_close(found, expected.detach(), rtol=close, atol=close, msg=message(name, way))
        torch.testing.assert_close(loss.total.detach().double(), total.detach(), rtol=close, atol=close)
        torch.testing.assert_close(loss.active.to_dense(loss.z).detach().double(), z_NF, rtol=close, atol=close)
        for name, weight in sae.named_parameters():
            expected = leaves[name].grad
            found = torch.zeros_like(leaves[name]) if weight.grad is None else weight.grad.double()
            expected = torch.zeros_like(found) if expected is None else expected
            torch.testing.assert_close(found, expected, rtol=close, atol=close, msg=message(f"d/d {name}", way))
    return z_NF


def message(name, way):
    return lambda text: f"{name} ({way}): {text}"


def unsettled(sae, amount=0.3, seed=3):
    """An SAE in float64 with every parameter away from its start, decoder rows of many norms."""
    sae = sae.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in sae.parameters():
            weight += amount * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return sae


def batch(n, d_model, seed=0):
    return torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
