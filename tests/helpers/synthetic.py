"""Activations made from a known dictionary."""

import numpy as np


def sparse_activations(n_rows, d_model=16, n_atoms=24, n_on=2, seed=0):
    """Rows that are sums of a few atoms of a known dictionary: (acts_ND, atoms_FD)."""
    rng = np.random.default_rng(seed)
    atoms_FD = rng.normal(size=(n_atoms, d_model))
    atoms_FD /= np.linalg.norm(atoms_FD, axis=1, keepdims=True)
    chosen = rng.random((n_rows, n_atoms)).argsort(axis=1)[:, :n_on]
    weights_NF = np.zeros((n_rows, n_atoms))
    np.put_along_axis(weights_NF, chosen, rng.uniform(0.5, 1.5, (n_rows, n_on)), axis=1)
    return (weights_NF @ atoms_FD).astype(np.float32), atoms_FD
