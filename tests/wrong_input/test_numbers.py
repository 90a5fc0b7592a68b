"""Seeds, counts, shares and tolerances out of their range, wherever they are taken."""

import numpy as np
import torch

import tl_entk
from feature_sets import FeatureSet
from tests.wrong_input.cases import (
    ACTIVATIONS,
    EIGEN,
    FAST,
    FEATURES,
    KERNEL,
    PLACES,
    SEEDS,
    TOKENS,
    Case,
    crossed,
    every,
    model,
    shares,
    whole_numbers,
)

BASES = {"a": EIGEN, "b": ACTIVATIONS}
SPECTRUM = torch.tensor([4.0, 3.0, 0.1])
W_OUT = "blocks.0.mlp.W_out"


def compared(**options):
    return tl_entk.compare(EIGEN, FEATURES, ACTIVATIONS, **FAST | options)


def chosen(**options):
    return tl_entk.best_directions(EIGEN, FEATURES, **FAST | options)


def solved(**options):
    return tl_entk.top_eigendirections(model(), TOKENS, W_OUT, **{"k": 2} | options)


CASES = [
    *crossed(
        {
            "best_directions": lambda x: chosen(seed=x),
            "compare": lambda x: compared(seed=x),
            "probe_bases": lambda x: tl_entk.probe_bases(BASES, FEATURES, seed=x, **FAST),
            "random_directions": lambda x: tl_entk.random_directions(12, 2, x),
            "rotate_by_varimax": lambda x: tl_entk.rotate_by_varimax(EIGEN.vectors, x),
            "rotate_by_ica": lambda x: tl_entk.rotate_by_ica(EIGEN.vectors, x),
            "sampled_class_trace": lambda x: tl_entk.sampled_class_trace(2, x),
            "sample_stories": lambda x: tl_entk.sample_stories(1, x),
            "judge_sweep": lambda x: tl_entk.judge_sweep({"a": {"0": EIGEN}}, FEATURES, seed=x),
            "top_eigendirections": lambda x: solved(seed=x),
            "all_eigendirections": lambda x: tl_entk.all_eigendirections(
                model(), TOKENS, [W_OUT], 1, seed=x
            ),
            "baseline_scores": lambda x: tl_entk.baseline_scores(model(), TOKENS, 1, seed=x),
            "sweep_directions": lambda x: tl_entk.sweep_directions(
                model(), TOKENS, ["logsumexp"], k=1, seed=x
            ),
        },
        SEEDS,
    ),
    *crossed(
        {
            "eigendecompose": lambda x: tl_entk.eigendecompose(KERNEL, x),
            "pca_scores": lambda x: tl_entk.pca_scores(ACTIVATIONS, x),
            "random_directions": lambda x: tl_entk.random_directions(12, x),
            "top_eigendirections": lambda x: solved(k=x),
            "all_eigendirections": lambda x: tl_entk.all_eigendirections(
                model(), TOKENS, [W_OUT], x
            ),
            "default_directions": lambda x: tl_entk.default_directions(model(), TOKENS, x),
            "baseline_scores": lambda x: tl_entk.baseline_scores(model(), TOKENS, x),
            "sweep_directions": lambda x: tl_entk.sweep_directions(
                model(), TOKENS, ["logsumexp"], k=x
            ),
            "leading_eigenpairs": lambda x: tl_entk.leading_eigenpairs(KERNEL, x),
            "jacobian": lambda x: tl_entk.jacobian(model(), TOKENS, W_OUT).eigendecompose(x),
        },
        whole_numbers("k"),
    ),
    *crossed(
        {
            "k of eigendecompose": lambda x: tl_entk.eigendecompose(KERNEL, x),
            "k of leading_eigenpairs": lambda x: tl_entk.leading_eigenpairs(KERNEL, x),
            "k of random_directions": lambda x: tl_entk.random_directions(12, x),
        },
        {"beyond N": (13, "k = 13: .*pass 1 to 12")},
    ),
    *crossed(
        {
            "best_directions": lambda x: chosen(n_bootstrap=x),
            "compare": lambda x: compared(n_bootstrap=x),
        },
        whole_numbers("n_bootstrap"),
    ),
    *crossed(
        {"permutations": lambda x: chosen(n_permutations=x)}, whole_numbers("n_permutations", 0)
    ),
    *crossed(
        {"examples at either end": lambda x: tl_entk.top_examples(EIGEN, 0, n=x)},
        whole_numbers("n"),
    ),
    *crossed(
        {
            "estimate": lambda x: tl_entk.kernel_operator(model(), TOKENS, W_OUT).estimate(x),
        },
        whole_numbers("k"),
    ),
    *crossed({"cliffs": lambda x: tl_entk.find_cliffs(SPECTRUM, x)}, whole_numbers("count", 0)),
    *crossed(
        {"cliffs skipped": lambda x: tl_entk.find_cliffs(SPECTRUM, skip=x)},
        whole_numbers("skip", 0),
    ),
    *crossed(
        {"drops around": lambda x: tl_entk.find_cliffs(SPECTRUM, window=x)}, whole_numbers("window")
    ),
    *crossed(
        {
            "kernel_laplacian": lambda x: tl_entk.kernel_laplacian(KERNEL, x),
            "rotate_by_kernel": lambda x: tl_entk.rotate_by_kernel(EIGEN.vectors, KERNEL, x),
        },
        whole_numbers("neighbours"),
    ),
    *crossed(
        {
            "varimax": lambda x: tl_entk.rotate_by_varimax(EIGEN.vectors, max_iterations=x),
            "ICA": lambda x: tl_entk.rotate_by_ica(EIGEN.vectors, max_iterations=x),
        },
        whole_numbers("max_iterations"),
    ),
    *crossed({"signs": lambda x: tl_entk.sampled_class_trace(x)}, whole_numbers("signs")),
    *crossed({"stories": lambda x: tl_entk.sample_stories(x)}, whole_numbers("n")),
    *crossed(
        {"stories at a time": lambda x: tl_entk.sample_stories(1, batch_size=x)},
        whole_numbers("batch_size"),
    ),
    *crossed(
        {"length of stories": lambda x: tl_entk.sample_stories(1, max_tokens=x)},
        whole_numbers("max_tokens"),
    ),
    *crossed(
        {
            "activations_at": lambda x: tl_entk.activations_at(
                model(), TOKENS, "blocks.0.hook_resid_post", batch_size=x
            ),
            "baseline_scores": lambda x: tl_entk.baseline_scores(model(), TOKENS, 1, batch_size=x),
            "greedy_continuation": lambda x: tl_entk.greedy_continuation(
                model(), TOKENS, batch_size=x
            ),
            "gradient_norms": lambda x: tl_entk.gradient_norms(
                model(), TOKENS, W_OUT, batch_size=x
            ),
            "top_tokens": lambda x: tl_entk.top_tokens(
                torch.ones(4, 1), 0, model(), TOKENS, batch_size=x
            ),
        },
        whole_numbers("batch_size"),
    ),
    *crossed(
        {"greedy_continuation": lambda x: tl_entk.greedy_continuation(model(), TOKENS, x)},
        whole_numbers("n_new"),
    ),
    *crossed({"block size": lambda x: solved(block_size=x)}, whole_numbers("block_size")),
    *crossed({"products": lambda x: solved(max_products=x)}, whole_numbers("max_products")),
    *crossed(
        {"basis": lambda x: tl_entk.leading_eigenpairs(KERNEL, 2, basis_budget=x)},
        whole_numbers("basis_budget"),
    ),
    *crossed(
        {
            "all_eigendirections": lambda x: tl_entk.all_eigendirections(
                model(), TOKENS, [W_OUT], 1, outputs=x
            )
        },
        whole_numbers("outputs"),
    ),
    *crossed(
        {
            "kernel_blocks": lambda x: tl_entk.kernel_blocks(
                model(), TOKENS, components=W_OUT, memory_budget=x
            ),
            "kernel_operator": lambda x: tl_entk.kernel_operator(
                model(), TOKENS, W_OUT, memory_budget=x
            ),
        },
        {
            name: (value, "memory_budget = .*pass bytes")
            for name, value in {
                "NaN": float("nan"),
                "text": "2 GiB",
                "true": True,
                "negative": -1,
                "few": 10,
                "fraction": 2e30,
            }.items()
        },
    ),
    *crossed(
        {
            "best_directions": lambda x: chosen(split=x),
            "compare": lambda x: compared(split=x),
            "probe_bases": lambda x: tl_entk.probe_bases(BASES, FEATURES, split=x, **FAST),
        },
        shares("split"),
    ),
    *crossed(
        {
            "eigendecompose": lambda x: tl_entk.eigendecompose(KERNEL, 2, tol=x),
            "top_eigendirections": lambda x: solved(tol=x),
            "leading_eigenpairs": lambda x: tl_entk.leading_eigenpairs(KERNEL, 2, tol=x),
            "all_eigendirections": lambda x: tl_entk.all_eigendirections(
                model(), TOKENS, [W_OUT], 1, tol=x
            ),
            "jacobian": lambda x: tl_entk.jacobian(model(), TOKENS, W_OUT).eigendecompose(2, tol=x),
        },
        {name: value for name, value in shares("tol").items() if value[0] is not None},
    ),
    *crossed(
        {"top_p": lambda x: tl_entk.sample_stories(1, top_p=x)},
        {
            name: (value, "top_p = ")
            for name, value in {
                "zero": 0,
                "negative": -1,
                "above": 1.1,
                "NaN": float("nan"),
                "text": "x",
            }.items()
        },
    ),
    *crossed(
        {"temperature": lambda x: tl_entk.sample_stories(1, temperature=x)},
        {
            name: (value, "temperature = .*positive")
            for name, value in {
                "zero": 0,
                "negative": -1,
                "infinite": float("inf"),
                "NaN": float("nan"),
                "text": "x",
            }.items()
        },
    ),
    *crossed(
        {"floor": lambda x: tl_entk.find_cliffs(SPECTRUM, floor=x)},
        {
            name: (value, "floor = ")
            for name, value in {
                "negative": -1,
                "one": 1.0,
                "NaN": float("nan"),
                "text": "x",
            }.items()
        },
    ),
    *crossed(
        {
            "top_examples": lambda x: tl_entk.top_examples(EIGEN, x),
            "plot.windows": lambda x: tl_entk.plot.windows(EIGEN, x),
        },
        {
            f"direction {value!r}": (value, rf"direction {value!r}: there are 0 to 3")
            for value in (4, -1, 1.0, True, None, "0")
        },
    ),
    *crossed(
        {
            "top_examples": lambda x: tl_entk.top_examples(EIGEN, 0, sign=x),
            "plot.windows": lambda x: tl_entk.plot.windows(EIGEN, 0, sign=x),
        },
        {
            f"sign {value!r}": (value, rf"sign = {value!r}: pass 1 or -1")
            for value in (0, 2, None, True, float("nan"), "plus")
        },
    ),
    Case(
        "half of the examples of groups, otherwise",
        lambda: chosen(split=0.3, groups=list(range(12))),
        r"split = 0.3 with groups.*pass 0.5",
    ),
    Case(
        "so few examples that a half is empty",
        lambda: tl_entk.best_directions(
            np.ones((2, 1)), FeatureSet.from_dict({"x": PLACES[:2]}), split=0.1
        ),
        "leaves one half empty",
    ),
    Case("seed as a text", lambda: chosen(seed="zero"), "seed = 'zero': pass"),
]


@every(CASES)
def test_numbers_out_of_range_are_refused(case, untyped):
    case.check()


def test_integers_of_numpy_are_taken(untyped):
    assert chosen(seed=np.int64(3)).rows == chosen(seed=3).rows
    assert tl_entk.eigendecompose(KERNEL, np.int32(2)).scores.shape == (12, 2)
