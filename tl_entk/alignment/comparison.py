"""Comparison of eNTK directions with PCA, probes and chance, at one budget, with intervals.

Every basis gives k scores per example; a linear probe on them is fitted on the train half and
judged on the test half, the same halves for every feature. A probe on all activations is the
ceiling, k random directions are the floor. A binary feature is judged by average precision (AP),
with AUROC, precision at quota and enrichment beside it; a real one by R^2. A mean over features is
always of one metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import average_precision_score
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from tl_entk.alignment.baselines import leading_scores, random_directions
from tl_entk.alignment.bootstrap import Samples, check_bootstrap
from tl_entk.alignment.comparison_result import BOUNDS, R2, Comparison, ComparisonRow
from tl_entk.alignment.names import ALL_ACTIVATIONS, PCA, RANDOM, STANDARDIZED, Probe
from tl_entk.alignment.probes import probe_scores
from tl_entk.alignment.ranking import AP, METRICS, Ranking, resamples
from tl_entk.alignment.sae_scores import SaeScores
from tl_entk.alignment.splitting import halves, too_rare
from tl_entk.directions.eigen import EigenDirections, scores_of
from tl_entk.tools.arrays import Rows, to_matrix
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import check_kind


def compare(
    eigen: EigenDirections | Rows,
    features: FeatureSet,
    activations: Rows,
    *,
    split: float = 0.5,
    seed: int = 0,
    n_bootstrap: int = 500,
    probe: Probe = "logistic",
    baselines: Mapping[str, Rows | SaeScores] | None = None,
) -> Comparison:
    r"""Probe every feature from k eNTK scores, k scores of each baseline and all activations.

    .. math:: \hat y = w \cdot u(x) + b, \quad (w, b) \text{ fitted on the train half, judged on
        the test half, for } u \in \{eNTK, PCA, standardized PCA, random, activations, ...\}

    Args:
        eigen: eNTK directions, or their scores (N, k). k is the budget of every basis.
        features: features of the same N examples.
        activations: (N, d) for PCA and for the ceiling; k must not exceed d. Of (N, t, d), as
            ``run_with_cache`` gives them, the last position is taken, with a warning. Tensors or
            numpy arrays, as everywhere here.
        split: share of the examples to fit on; the rest is judged on. See ``halves``.
        seed: of the split, the random directions and the bootstrap.
        n_bootstrap: resamples of the test half for the 95 % intervals.
        probe: of binary features: "logistic", or "ridge", one fit for all of them, for sweeps over
            many layers. Real features are probed by ridge regression.
        baselines: further baselines by name, states or scores (N, m), such as those of
            :func:`tl_entk.baseline_scores`; wider ones than k are reduced to their k leading
            principal components. Of :func:`tl_entk.sae_scores` the k leading latents are taken,
            and a further basis, "NAME, all latents", stands beside, at a larger budget.

    Returns:
        One row per feature group with its figures and the paired difference eNTK - PCA. A basis
        that has fewer than k dimensions beyond rounding is probed from those that it has:
        ``provenance["columns"]`` says from how many each.

    Raises:
        UserError: if numbers of examples differ, k exceeds the activations' width, or a binary
            feature is too rare to be split.

    Source: arXiv 2510.00468, section 5 (PCA and probes beside the eNTK).

    Example:
        >>> import torch
        >>> from feature_sets import fourier
        >>> a, b = np.divmod(np.arange(49), 7)
        >>> features = fourier(a, b, 7, families=["a+b"])
        >>> scores = torch.from_numpy(features.values)[:, :2]
        >>> table = compare(scores, features, torch.from_numpy(features.values), n_bootstrap=20)
        >>> [round(row.scores["eNTK"].value, 2) for row in table.rows][0]
        1.0
    """
    check_feature_set(features)
    scores = scores_of(eigen)
    activations = to_matrix(activations, "activations")
    n, k = scores.shape
    _check_lengths(n, k, features, activations)
    further = {} if baselines is None else baselines
    _check_names(further)
    bases = {
        "eNTK": scores,
        PCA: leading_scores(activations, k),
        STANDARDIZED: leading_scores(activations, k, standardize=True),
        **_reduce(further, k),
        RANDOM: random_directions(n, k, seed),
        ALL_ACTIVATIONS: activations,
        **_all_latents(further),
    }
    found = probe_bases(
        bases, features, split=split, seed=seed, n_bootstrap=n_bootstrap, probe=probe
    )
    if isinstance(eigen, EigenDirections):
        return replace(found, provenance={**eigen.provenance, **found.provenance})
    return found


def probe_bases(
    bases: Mapping[str, EigenDirections | Rows],
    features: FeatureSet,
    *,
    split: float = 0.5,
    seed: int = 0,
    n_bootstrap: int = 500,
    probe: Probe = "logistic",
    progress: bool = False,
) -> Comparison:
    """Probe every feature from each of several bases, such as directions of different layers.

    Args:
        bases: name to (N, k) inputs of the probes (or directions, whose scores are taken), two or
            more; the rows' difference is the first less the second.
        features: features of the same N examples.
        split: as for ``compare``, as are the others.
        seed: of the split and the bootstrap.
        n_bootstrap: resamples.
        probe: of binary features.
        progress: show a bar.

    Raises:
        UserError: for fewer than two bases, or as ``compare``.

    Example:
        >>> import torch
        >>> from feature_sets import fourier
        >>> a, b = np.divmod(np.arange(49), 7)
        >>> features = fourier(a, b, 7, families=["a+b"])
        >>> truth = torch.from_numpy(features.values)
        >>> table = probe_bases({"truth": truth, "nothing": 0 * truth}, features, n_bootstrap=20)
        >>> round(table.rows[0].difference.value, 1)
        1.1
    """
    check_feature_set(features)
    check_kind("bases", bases, Mapping, "a mapping from names to bases")
    if len(bases) < 2:
        raise UserError(f"{len(bases)} bases: pass two or more to compare.")
    n = len(features.values)
    inputs = {
        name: to_matrix(
            basis.scores if isinstance(basis, EigenDirections) else basis, f"basis {name!r}", n
        )
        for name, basis in bases.items()
    }
    check_bootstrap(n_bootstrap)
    train, test = halves(features, split, seed)
    times = resamples(len(test), n_bootstrap, seed)
    truth = features.values
    samples = {}
    with Progress(f"{probe} probes", len(inputs), progress) as bar:
        for name, basis in inputs.items():
            values = basis.cpu().double().numpy()
            predicted = probe_scores(
                values[train], truth[train], values[test], features.is_binary, probe
            )
            samples[name] = _judge_predictions(features, truth[test], predicted, times)
            bar.advance(1, name)
    columns = {name: basis.shape[1] for name, basis in inputs.items()}
    provenance = {
        "split": split,
        "seed": seed,
        "n_bootstrap": n_bootstrap,
        "probe": probe,
        "columns": columns,
    }
    k = next(iter(inputs.values())).shape[1]
    return Comparison(_build_rows(features, samples), k, len(test), provenance, samples)


def probe_validation(scores: Float[Tensor, "n k"], features: FeatureSet, seed: int = 0) -> float:
    """Macro AP of ridge probes fitted on one half of these examples, judged on the other.

    What to choose a layer by: pass the examples of a train half only. Features too rare to be
    halved again are left out.

    Args:
        scores: (n, k) inputs of the probes.
        features: binary features of the same examples.
        seed: of the split.
    """
    kept = features.without(too_rare(features, seed=seed))
    train, test = halves(kept, seed=seed)
    inputs, truth = scores.detach().cpu().double().numpy(), kept.values
    predicted = probe_scores(inputs[train], truth[train], inputs[test], kept.is_binary, "ridge")
    return float(average_precision_score(truth[test], predicted, average="macro"))


def _check_names(baselines: Mapping[str, Rows | SaeScores]) -> None:
    check_kind("baselines", baselines, Mapping, "a mapping from names to states")
    taken = {"eNTK", PCA, STANDARDIZED, RANDOM, ALL_ACTIVATIONS, *_all_latents(baselines)}
    for name in taken & baselines.keys():
        raise UserError(f"your baseline {name!r} has the name of another: choose a new one.")


def _reduce(baselines: Mapping[str, Rows | SaeScores], k: int) -> dict[str, Tensor]:
    """Baselines of a caller's own at the budget."""
    found = {}
    for name, given in baselines.items():
        if isinstance(given, SaeScores):
            found[name] = given.scores[:, :k]
        else:
            states = to_matrix(given, f"baseline {name!r}")
            found[name] = states if states.shape[1] <= k else leading_scores(states, k)
    return found


def _all_latents(baselines: Mapping[str, Rows | SaeScores]) -> dict[str, Tensor]:
    """Autoencoders beyond the budget: with as many latents as differ."""
    return {
        f"{name}, all latents": given.scores
        for name, given in baselines.items()
        if isinstance(given, SaeScores)
    }


def _check_lengths(n: int, k: int, features: FeatureSet, activations: Tensor) -> None:
    if len(features.values) != n or len(activations) != n:
        raise UserError(
            f"directions of {n} examples, features of {len(features.values)}, activations of "
            f"{len(activations)}: pass the same examples in the same order."
        )
    if k > activations.shape[1]:
        raise UserError(
            f"{k} directions, but activations of width {activations.shape[1]} have no more "
            "principal components: compare fewer directions."
        )


def _build_rows(
    features: FeatureSet, samples: dict[str, dict[str, Samples]]
) -> tuple[ComparisonRow, ...]:
    rows = []
    ours, theirs = list(samples.values())[:2]
    for i, group in enumerate(features.group_names()):
        first = features.groups.index(group)
        binary = features.is_binary[first]
        main = AP if binary else R2
        metrics = {
            metric: {name: samples[name][metric].mean([i]) for name in samples}
            for metric in (METRICS if binary else (R2,))
        }
        rows.append(
            ComparisonRow(
                group,
                features.families[first],
                main,
                metrics[main],
                (ours[main] - theirs[main]).mean([i]),
                metrics,
            )
        )
    return tuple(rows)


def _judge_predictions(
    features: FeatureSet,
    truth: Float[np.ndarray, "t f"],
    predicted: Float[np.ndarray, "t f"],
    times: Int[np.ndarray, "b t"],
) -> dict[str, Samples]:
    """Every metric of every group on the test half (first) and on its resamples."""
    weights = np.concatenate([np.ones((1, len(truth))), times])
    groups = features.group_names()
    figures = {name: np.full((len(weights), len(groups)), np.nan) for name in BOUNDS}
    for i, group in enumerate(groups):
        members = [j for j, name in enumerate(features.groups) if name == group]
        found = (
            _mean_ranking_metrics(truth[:, members], predicted[:, members], weights)
            if features.is_binary[members[0]]
            else {R2: _mean_r2(truth[:, members], predicted[:, members], weights)}
        )
        for metric, values in found.items():
            figures[metric][:, i] = values
    return {name: Samples(f[0], f[1:], BOUNDS[name]) for name, f in figures.items()}


def _mean_ranking_metrics(
    truth: np.ndarray, scores: np.ndarray, weights: Float[np.ndarray, "w t"]
) -> dict[str, Float[np.ndarray, " w"]]:
    """Ranking metrics under every weighting; the mean over a group's features."""
    columns = zip(truth.T, scores.T, strict=True)
    found = [Ranking(s).curve(y[:, None], weights.T).metrics() for y, s in columns]
    return {metric: np.mean([one[metric] for one in found], 0) for metric in METRICS}


def _mean_r2(
    truth: np.ndarray, predicted: np.ndarray, weights: Float[np.ndarray, "w t"]
) -> Float[np.ndarray, " w"]:
    """R^2 under every weighting by sums over examples; the mean over a group's features."""
    error = weights @ (truth - predicted) ** 2
    spread = weights @ truth**2 - (weights @ truth) ** 2 / len(truth)
    # a resample in which the feature is constant has no figure
    return (1 - error / np.where(spread > 0, spread, np.nan)).mean(1)
