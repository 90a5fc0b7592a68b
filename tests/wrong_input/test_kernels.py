"""Kernels, blocks, spectra and graphs that cannot be meant."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import torch

import tl_entk
from feature_sets import fourier
from tests.wrong_input.cases import (
    ACTIVATIONS,
    BLOCKS,
    EIGEN,
    FEATURES,
    KERNEL,
    NAMES,
    Case,
    at,
    crossed,
    every,
)

pytestmark = pytest.mark.plain

A, B = np.divmod(np.arange(9), 3)
WAVES = fourier(A, B, 3)
TAKES_KERNELS = {
    "eigendecompose": lambda x: tl_entk.eigendecompose(x, 1),
    "kernel_laplacian": lambda x: tl_entk.kernel_laplacian(x, 1),
    "rotate_by_kernel": lambda x: tl_entk.rotate_by_kernel(EIGEN.vectors, x, 1),
    "cosine_normalize": tl_entk.cosine_normalize,
    "center": tl_entk.center,
}
SKEW = KERNEL + torch.triu(torch.ones(12, 12))
KERNELS = {
    "none": (None, "a kernel is a tensor or a numpy array, not NoneType"),
    "blocks": (BLOCKS, r"not KernelBlocks: pass one block, blocks\[name\]"),
    "directions": (EIGEN, "not EigenDirections"),
    "a list": ([[1.0, 0.0], [0.0, 1.0]], "not list: pass"),
    "text": ("total", "not str: pass"),
    "one axis": (KERNEL[0], r"a kernel is square.*shape \(12,\)"),
    "three axes": (KERNEL[None], r"a kernel is square.*shape \(1, 12, 12\)"),
    "not square": (ACTIVATIONS, r"a kernel is square.*shape \(12, 6\)"),
    "no example": (torch.ones(0, 0), r"no examples"),
    "texts": (np.full((3, 3), "a"), "kernel is .*pass a tensor or a numpy array of real numbers"),
    "complex": (KERNEL.to(torch.complex128), "complex: pass real numbers"),
    "sparse": (KERNEL.to_sparse(), r"sparse: pass .*to_dense\(\)"),
    "NaN": (at(KERNEL, np.nan), "not finite"),
    "infinite": (at(KERNEL, np.inf), "not finite"),
    "skew": (SKEW, "not symmetric"),
}
OF_A_KERNEL = {
    "negative definite": (-KERNEL, "negative.*no kernel"),
    "one negative eigenvalue": (KERNEL - 60 * torch.eye(12), "negative.*no kernel"),
}


def blocks(**matrices):
    return tl_entk.KernelBlocks({name.replace("_", "."): m for name, m in matrices.items()})


CASES = [
    *crossed(
        TAKES_KERNELS, {name: KERNELS[name] for name in KERNELS if name not in ("none", "blocks")}
    ),
    # of blocks eigendecompose takes the sum
    *crossed(
        {name: TAKES_KERNELS[name] for name in TAKES_KERNELS if name != "eigendecompose"},
        {"blocks": KERNELS["blocks"]},
    ),
    *crossed(
        {name: TAKES_KERNELS[name] for name in TAKES_KERNELS if name != "rotate_by_kernel"},
        {"none": KERNELS["none"]},
    ),
    *crossed({"eigendecompose": TAKES_KERNELS["eigendecompose"]}, OF_A_KERNEL),
    *crossed(
        {"kernel_spectrum": lambda x: tl_entk.kernel_spectrum(x, WAVES)},
        {name: KERNELS[name] for name in ("none", "a list", "text", "blocks")},
    ),
    Case(
        "a spectrum of other examples",
        lambda: tl_entk.kernel_spectrum(KERNEL, WAVES),
        "features of 9 examples, a kernel of 12",
    ),
    Case(
        "a spectrum of an unknown family",
        lambda: tl_entk.kernel_spectrum(KERNEL[:9, :9], WAVES, "nope"),
        "no family 'nope': there are",
    ),
    Case(
        "a zero example, normalized",
        lambda: tl_entk.cosine_normalize(torch.diag(torch.tensor([1.0, 0.0]))),
        "example 1 has a zero gradient: leave it out",
    ),
    Case(
        "a negative example, normalized",
        lambda: tl_entk.cosine_normalize(torch.diag(torch.tensor([1.0, -2.0]))),
        "negative.*no kernel",
    ),
    Case(
        "provenance as text",
        lambda: tl_entk.eigendecompose(KERNEL, 2, provenance="mine"),
        "provenance is a str: pass a mapping",
    ),
    Case(
        "number format as text",
        lambda: tl_entk.eigendecompose(KERNEL, 2, dtype="float32"),
        "dtype is a str: pass a number format",
    ),
    Case(
        "start as text",
        lambda: tl_entk.leading_eigenpairs(KERNEL, 2, start="random"),
        "start is a str.*pass a tensor",
    ),
    Case(
        "provenance of blocks as text",
        lambda: tl_entk.KernelBlocks({"a": KERNEL}, "mine"),
        "provenance is a str: pass a dict",
    ),
    Case("no blocks", lambda: tl_entk.KernelBlocks({}), "no blocks: pass one or more"),
    Case("blocks as none", lambda: tl_entk.KernelBlocks(None), "blocks is a NoneType: pass a map"),
    Case(
        "blocks as a tensor", lambda: tl_entk.KernelBlocks(KERNEL), "blocks is a Tensor: pass a m"
    ),
    Case(
        "blocks as a list", lambda: tl_entk.KernelBlocks([KERNEL]), "blocks is a list: pass a map"
    ),
    Case("a block that is none", lambda: blocks(a=None), "block 'a' is a NoneType: pass a tensor"),
    Case("a block that is text", lambda: blocks(a="K"), "block 'a' is a str: pass a tensor"),
    Case("a block of one axis", lambda: blocks(a=KERNEL[0]), r"block 'a'.*shape \(12,\)"),
    Case("a block that is no square", lambda: blocks(a=ACTIVATIONS), r"'a'.*shape \(12, 6\)"),
    Case(
        "blocks of two sizes",
        lambda: blocks(a=KERNEL, b=KERNEL[:5, :5]),
        r"block 'b' .*shape \(5, 5\).*\(12, 12\).*same examples",
    ),
    Case(
        "a block named by a number",
        lambda: tl_entk.KernelBlocks({3: KERNEL}),
        "block name 3: pass a text",
    ),
    Case("an unknown block", lambda: BLOCKS["nope"], "no block 'nope' was computed", KeyError),
    Case("sum of nothing that matches", lambda: BLOCKS.sum("nope.*"), "nope"),
    Case("sum of no pattern", lambda: BLOCKS.sum([]), "no component|no pattern"),
    Case("sum of None", lambda: BLOCKS.sum(None), "components is a NoneType: pass"),
    Case("sum of a number", lambda: BLOCKS.sum(3), "components is a int: pass"),
    *(
        Case(f"normalization {value!r}", lambda value=value: BLOCKS.sum("*", value), words)
        for value, words in (
            ("nope", "no normalization 'nope': pass one of plain"),
            (None, "no normalization None: pass one of plain"),
            (["cosine"], r"no normalization \['cosine'\]: pass one of plain"),
            ("centred", "spelled otherwise now"),
        )
    ),
    Case(
        "shares of a tensor",
        lambda: tl_entk.component_shares(KERNEL, EIGEN.scores[:, 0]),
        "blocks is a Tensor: pass KernelBlocks",
    ),
    Case(
        "shares, swapped",
        lambda: tl_entk.component_shares(EIGEN.scores[:, 0], BLOCKS),
        "blocks is a Tensor: pass KernelBlocks",
    ),
    Case(
        "shares of blocks with NaN",
        lambda: tl_entk.component_shares(
            tl_entk.KernelBlocks({"a": at(KERNEL, np.nan)}), EIGEN.scores[:, 0]
        ),
        "block 'a' is no finite number",
    ),
    *crossed(
        {
            "head_shares": tl_entk.head_shares,
            "layer_shares": lambda x: tl_entk.layer_shares(x, list(NAMES)),
            "plot.shares": tl_entk.plot.shares,
        },
        {
            "none": (None, "shares is a NoneType: pass what component_shares returns"),
            "list": ([0.5], "shares is a list: pass what component_shares returns"),
            "blocks": (KERNEL, "shares is a Tensor: pass what component_shares returns"),
            "text": ({NAMES[0]: "half", NAMES[1]: 0.5}, "is no finite number"),
            "NaN": ({NAMES[0]: np.nan, NAMES[1]: 0.5}, "is no finite number"),
            "none share": ({NAMES[0]: None, NAMES[1]: 0.5}, "is no finite number"),
        },
    ),
    Case(
        "a partition of other blocks",
        lambda: tl_entk.layer_shares({"a": 1.0}, ["b"]),
        "no share of 'b': there are",
    ),
    Case(
        "a partition as one text",
        lambda: tl_entk.layer_shares({"a": 1.0}, "a"),
        r"partition is one text.*\['a'\]",
    ),
    *crossed(
        {"find_cliffs": tl_entk.find_cliffs, "plot.spectrum": tl_entk.plot.spectrum},
        {
            "none": (None, "is a NoneType"),
            "text": ("eigenvalues", "is a str"),
            "matrix": (KERNEL, r"shape \(12, 12\)"),
            "number": (3.0, r"shape \(\)"),
            "NaN": (np.array([3.0, np.nan, 1.0]), "not finite"),
            "infinite": (np.array([np.inf, 1.0]), "not finite"),
        },
    ),
    Case(
        "a spectrum of none", lambda: tl_entk.plot.spectrum(np.array([])), "no eigenvalue in spec"
    ),
    Case(
        "cliffs that ascend", lambda: tl_entk.find_cliffs(np.arange(4.0)), "descending order: sort"
    ),
    Case(
        "cliffs of negative numbers",
        lambda: tl_entk.find_cliffs(np.array([-1.0, -2.0])),
        "no eigenvalue is positive",
    ),
    *(
        Case(
            f"key frequencies of {name}", lambda value=value: tl_entk.key_frequencies(value), words
        )
        for name, value, words in (
            ("one", {1: 1.0}, "pass at least two"),
            ("none", None, "spectrum is a NoneType: pass a mapping"),
            ("a list", [1.0, 2.0], "spectrum is a list: pass a mapping"),
            ("NaN", {1: np.nan, 2: 1.0}, "frequency 1.*no finite number"),
            ("text", {1: "much", 2: 1.0}, "frequency 1.*no finite number"),
        )
    ),
    *(
        Case(f"a torus of {name}", lambda args=args: tl_entk.torus_laplacians(*args), words)
        for name, args, words in (
            ("other p", (A, B, 4), "p = 4 has 16 pairs"),
            ("p 0", (A, B, 0), "p = 0: pass"),
            ("p 3.0", (A, B, 3.0), "p = 3.0: pass"),
            ("p as text", (A, B, "3"), "p = '3': pass"),
            ("repeated pairs", (A, A, 3), "pairs are missing"),
            ("numbers out of range", (A + 1, B, 3), "a goes from 1 to 3"),
            ("numbers with a point", (A + 0.5, B, 3), "a .*pass integers"),
            ("none", (None, B, 3), "a is a NoneType"),
        )
    ),
    *(
        Case(
            f"Laplacian {name}",
            lambda value=value: tl_entk.rotate_by_smoothness(EIGEN.vectors, value),
            words,
        )
        for name, value, words in (
            ("none", None, "laplacians is a NoneType: pass a list"),
            ("not listed", np.eye(12), "laplacians is a ndarray: pass a list"),
            ("empty", [], "no Laplacian: pass at least one"),
            ("of None", [None], "Laplacian 0 is a NoneType: pass"),
            ("of text", ["a"], "Laplacian 0 is a str: pass"),
            ("of another size", [np.eye(5)], r"Laplacian 0 has shape \(5, 5\)"),
            ("skew", [np.triu(np.ones((12, 12)))], r"not symmetric: pass \(L \+ L.T\) / 2"),
            ("NaN", [np.full((12, 12), np.nan)], "not finite: check"),
            ("complex", [scipy.sparse.csr_array(np.eye(12) * 1j)], "complex"),
        )
    ),
    *(
        Case(f"directions {name}", lambda change=change: replace(EIGEN, **change), words)
        for name, change, words in (
            ("of two k", {"eigenvalues": torch.ones(3)}, "eigenvalues.*3.*4 directions"),
            ("of two N", {"scores": torch.ones(5, 4)}, "scores of 5 examples, vectors of 12"),
            ("without scores", {"scores": None}, "scores is a NoneType: pass a tensor"),
            ("of an unknown space", {"space": "rows"}, "space = 'rows': pass .*examples"),
            ("with a flag too few", {"converged": torch.ones(2, dtype=bool)}, "converged.*2.*4"),
            ("of two k's", {"vectors": torch.ones(12, 3)}, "scores of 4 directions, vectors of 3"),
            ("of four axes", {"vectors": torch.ones(12, 2, 2, 4)}, r"vectors has shape .*\(N, k\)"),
            ("from a list", {"provenance": []}, "provenance is a list: pass a dict"),
            *(
                (
                    f"with a matrix of {name}",
                    {name: torch.ones(3, 4).to(getattr(EIGEN, name).dtype)},
                    rf"{name} has shape \(3, 4\), not \(4,\)",
                )
                for name in ("eigenvalues", "rank1_share", "residuals", "converged")
            ),
            *(
                (
                    f"with {name} of {dtype}",
                    {name: getattr(EIGEN, name).to(dtype)},
                    f"{name} is of {dtype}: pass",
                )
                for name, dtype in (
                    ("eigenvalues", torch.int64),
                    ("vectors", torch.complex128),
                    ("scores", torch.bool),
                    ("converged", torch.float64),
                    ("converged", torch.int64),
                )
            ),
        )
    ),
    *(
        Case(
            f"a block that is {name}", lambda block=block: tl_entk.KernelBlocks({"a": block}), words
        )
        for name, block, words in (
            ("of no example", torch.ones(0, 0), r"block 'a' has shape \(0, 0\): pass \(N, N\)"),
            ("sparse", KERNEL.to_sparse(), "block 'a' is sparse: pass"),
            ("complex", KERNEL.to(torch.complex128), "block 'a' is complex: pass real"),
            ("without numbers", KERNEL.to("meta"), "block 'a' is on the meta device"),
        )
    ),
    *(
        Case(f"take {value!r}", lambda value=value: EIGEN.take(value), words)
        for value, words in (
            ([9], "direction 9: there are 0 to 3"),
            ([0.5], "direction 0.5: there are 0 to 3"),
            ("01", "direction '0': there are 0 to 3"),
            (2, "columns is a int: pass a list"),
            (None, "columns is a NoneType: pass a list"),
        )
    ),
    *(
        Case(f"cliff {value!r}", lambda value=value: tl_entk.Cliff(value, 2.0, 2.0), "position = ")
        for value in (0, True, "1")
    ),
]


@every(CASES)
def test_wrong_kernels_are_refused(case, untyped):
    case.check()


def test_arrays_are_taken_as_tensors_are(untyped):
    for name, call in TAKES_KERNELS.items():
        found, expected = call(KERNEL.numpy()), call(KERNEL)
        assert str(found) == str(expected), name
    of_arrays = tl_entk.KernelBlocks({"a": KERNEL.numpy()})
    assert torch.equal(of_arrays.total(), KERNEL)
    laplacian = torch.eye(12).numpy()
    assert tl_entk.rotate_by_smoothness(EIGEN.scores.numpy(), [laplacian]).converged


def test_a_direction_counted_from_the_end_is_no_place():
    assert EIGEN.take([3, 0]).scores.shape == (12, 2)
    assert FEATURES.take([1]).names == ("odd",)
