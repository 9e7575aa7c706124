"""The supervised metrics by their definitions: loops over thresholds, latents, properties, positions; nothing clever.

Written from the formulas, not from the package, which these functions do not import. Dense numpy arrays only.
"""

import itertools

import numpy as np

GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def largest(latents_NF):
    """m_f: the largest activation of each latent, 0 where it is never on."""
    return np.array([max([0.0, *column]) for column in latents_NF.T], latents_NF.dtype)


def is_on(latents_NF, max_F, threshold):
    """(N, F) bool, one comparison at a time: a > t * m_f and a > 0, in the dtype of the latents."""
    kind = latents_NF.dtype.type
    on_NF = np.zeros(latents_NF.shape, bool)
    for n, f in np.ndindex(*latents_NF.shape):
        on_NF[n, f] = latents_NF[n, f] > kind(threshold) * kind(max_F[f])
    return on_NF


def counts(latents_NF, labels_NP, max_F=None, thresholds=GRID):
    """on_TFP, n_on_TF, positives_P."""
    max_F = largest(latents_NF) if max_F is None else max_F
    n_latents, n_properties = latents_NF.shape[1], labels_NP.shape[1]
    on_TFP = np.zeros((len(thresholds), n_latents, n_properties), np.int64)
    n_on_TF = np.zeros((len(thresholds), n_latents), np.int64)
    for t, threshold in enumerate(thresholds):
        on_NF = is_on(latents_NF, max_F, threshold)
        for f in range(n_latents):
            n_on_TF[t, f] = sum(on_NF[:, f])
            for p in range(n_properties):
                on_TFP[t, f, p] = sum(on and true for on, true in zip(on_NF[:, f], labels_NP[:, p], strict=True))
    return on_TFP, n_on_TF, np.array([sum(column) for column in labels_NP.T.astype(int)])


def f1(true_positive, n_on, positives):
    """Harmonic mean of precision and recall, 0 where there is no true positive."""
    if true_positive == 0:
        return 0.0
    precision, recall = true_positive / n_on, true_positive / positives
    return 2 * precision * recall / (precision + recall)


def best_classifiers(latents_NF, labels_NP, max_F=None, thresholds=GRID):
    """For each property: (F1, latent, threshold), the smallest threshold and then latent of exactly equal F1."""
    on_TFP, n_on_TF, positives_P = counts(latents_NF, labels_NP, max_F, thresholds)
    chosen = []
    for p, positives in enumerate(positives_P):
        best, where = (-1, 1), (0, 0)
        for t, f in itertools.product(range(len(thresholds)), range(latents_NF.shape[1])):
            share = (2 * on_TFP[t, f, p], n_on_TF[t, f] + positives)  # compared as fractions
            if share[0] * best[1] > best[0] * share[1]:
                best, where = share, (t, f)
        t, f = where
        chosen.append((f1(on_TFP[t, f, p], n_on_TF[t, f], positives), f, thresholds[t]))
    return chosen


def held_out(train_NF, train_NP, test_NF, test_NP, max_F=None, thresholds=GRID):
    """For each property (train F1, latent, threshold, test TP, test on, test positives, test F1, always-on F1)."""
    max_F = largest(train_NF) if max_F is None else max_F
    rows = []
    for p, (train_f1, f, threshold) in enumerate(best_classifiers(train_NF, train_NP, max_F, thresholds)):
        on_N, true_N = is_on(test_NF, max_F, threshold)[:, f], test_NP[:, p]
        hit, n_on, positives = int(sum(on_N & true_N)), int(sum(on_N)), int(sum(true_N))
        always = f1(positives, len(true_N), positives)
        rows.append((train_f1, f, threshold, hit, n_on, positives, f1(hit, n_on, positives), always))
    return rows


def coverage_reference(latents_NF, labels_NP, denominator=None, max_F=None, thresholds=GRID):
    """Largest over thresholds of the sum over properties of the largest F1 over latents, over the denominator."""
    on_TFP, n_on_TF, positives_P = counts(latents_NF, labels_NP, max_F, thresholds)
    sums = []
    for t in range(len(thresholds)):
        per_property = [
            max(f1(on_TFP[t, f, p], n_on_TF[t, f], positives_P[p]) for f in range(latents_NF.shape[1]))
            for p in range(labels_NP.shape[1])
        ]
        sums.append(sum(per_property) / (denominator or labels_NP.shape[1]))
    return max(sums)


def classifiers(latents_NF, labels_NP, max_F, thresholds, min_precision, min_count):
    """The set of (t, f, p) that are precise and frequent enough."""
    on_TFP, n_on_TF, _ = counts(latents_NF, labels_NP, max_F, thresholds)
    return {
        (t, f, p)
        for t, f, p in np.ndindex(*on_TFP.shape)
        if n_on_TF[t, f] > 0 and on_TFP[t, f, p] >= min_precision * n_on_TF[t, f] and on_TFP[t, f, p] >= min_count
    }


def boards(found, latents_NF, max_F, t, threshold, n_properties):
    """(N, P) bool: the union of what the classifiers on at each position say."""
    on_NF = is_on(latents_NF, max_F, threshold)
    board_NP = np.zeros((len(latents_NF), n_properties), bool)
    for n, (at, f, p) in itertools.product(range(len(latents_NF)), found):
        if at == t and on_NF[n, f]:
            board_NP[n, p] = True
    return board_NP


def micro(board_NP, labels_NP):
    """(precision, recall, F1) pooled over positions and properties."""
    hit = miss = wrong = 0
    for said, true in zip(board_NP.ravel(), labels_NP.ravel(), strict=True):
        hit += bool(said and true)
        wrong += bool(said and not true)
        miss += bool(true and not said)
    return hit / max(1, hit + wrong), hit / max(1, hit + miss), f1(hit, hit + wrong, hit + miss)


def per_square(board_NP, labels_NP, square_of_P):
    """F1 of the pooled counts, less the true positive of squares with exactly one true and one false positive."""
    hit = miss = wrong = lost = 0
    for n in range(len(board_NP)):
        for square in set(square_of_P):
            said = [board_NP[n, p] for p in range(len(square_of_P)) if square_of_P[p] == square]
            true = [labels_NP[n, p] for p in range(len(square_of_P)) if square_of_P[p] == square]
            hits = sum(a and b for a, b in zip(said, true, strict=True))
            wrongs = sum(a and not b for a, b in zip(said, true, strict=True))
            hit, wrong, lost = hit + hits, wrong + wrongs, lost + (hits == 1 and wrongs == 1)
            miss += sum(b and not a for a, b in zip(said, true, strict=True))
    hit -= lost
    return f1(hit, hit + wrong, hit + miss)


def cosine(a_D, b_D):
    """Of two vectors, 0 where one is zero."""
    norms = sum(x * x for x in a_D) ** 0.5 * sum(x * x for x in b_D) ** 0.5
    return sum(x * y for x, y in zip(a_D, b_D, strict=True)) / norms if norms else 0.0


def best_matching(weight_PF):
    """The largest sum of weights of any one-to-one matching of min(P, F) rows and columns: tries every one."""
    rows, columns = weight_PF.shape
    if rows > columns:
        return best_matching(weight_PF.T)
    return max(
        sum(weight_PF[p, f] for p, f in enumerate(chosen)) for chosen in itertools.permutations(range(columns), rows)
    )


def above_chance(f1_value, positives, n_positions):
    """(F1 - F1_always) / (1 - F1_always); None where the property is true everywhere."""
    always = f1(positives, n_positions, positives)
    return None if positives == n_positions else (f1_value - always) / (1 - always)


def tellings(latents_NF, labels_NP, wanted_P, max_F=None, thresholds=GRID):
    """For each latent what it may be a classifier of: (above chance, t, p, hits, on), by threshold, then property."""
    on_TFP, n_on_TF, positives_P = counts(latents_NF, labels_NP, max_F, thresholds)
    found = []
    for f in range(latents_NF.shape[1]):
        own = []
        for t, p in itertools.product(range(len(thresholds)), range(labels_NP.shape[1])):
            hit, n_on = int(on_TFP[t, f, p]), int(n_on_TF[t, f])
            above = above_chance(f1(hit, n_on, positives_P[p]), positives_P[p], len(labels_NP))
            if n_on and wanted_P[p] and above is not None:
                own.append((above, t, p, hit, n_on))
        found.append(own)
    return found


def last_boards(found, latents_NF, max_F, thresholds, n_properties):
    """(N, P) bool: each latent says what it is a classifier of at the highest threshold that it passes."""
    board_NP = np.zeros((len(latents_NF), n_properties), bool)
    on_TNF = [is_on(latents_NF, max_F, threshold) for threshold in thresholds]
    for n, f in np.ndindex(*latents_NF.shape):
        passed = [t for t in range(len(thresholds)) if on_TNF[t][n, f]]
        for t, g, p in found:
            if g == f and passed and t == passed[-1]:
                board_NP[n, p] = True
    return board_NP


def published(train, test, square_of_P, max_F, thresholds=GRID, min_precision=0.95, min_count=10):
    """The published board reconstruction: value, threshold, F1 and per-square F1 at each, F1 of the last slot."""
    alive_F = max_F > 0
    (train_NF, train_NP), (test_NF, test_NP) = (train[0] * alive_F, train[1]), (test[0] * alive_F, test[1])
    found = classifiers(train_NF, train_NP, max_F, thresholds, min_precision, min_count)
    f1_T, square_T = [], []
    for t, threshold in enumerate(thresholds):
        board_NP = boards(found, test_NF, max_F, t, threshold, test_NP.shape[1])
        f1_T.append(micro(board_NP, test_NP)[2])
        square_T.append(per_square(board_NP, test_NP, square_of_P))
    best = max((t for t, threshold in enumerate(thresholds) if threshold < 1), key=lambda t: square_T[t])
    last = micro(last_boards(found, test_NF, max_F, thresholds, test_NP.shape[1]), test_NP)[2]
    return f1_T[best], thresholds[best], f1_T, square_T, last
