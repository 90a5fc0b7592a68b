"""Time to the top eigenpairs: ours, the same solver on the plain twin, and 50 plain steps.

    python benchmarks/operator_eigenpairs.py [--n 16] [--k 25] [--small]

The author's recipe is 50 single-vector Lanczos steps on the plain twin; going on from them to
convergence gives the same solver's time on the twin.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import torch

import tl_entk
from benchmarks.gemma import FULL, SMALL, Twin, bridge, hugging_face_gemma, random_tokens


def listed(residuals: torch.Tensor) -> str:
    return " ".join(f"{r:.0e}" for r in residuals.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--k", type=int, default=25)
    parser.add_argument("--layer", type=int)
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--recipe-only", action="store_true", help="not the twin to convergence")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes = SMALL if arguments.small else FULL
    layer = sizes["num_hidden_layers"] - 2 if arguments.layer is None else arguments.layer
    component = f"blocks.{layer}.mlp.W_out"
    plain = hugging_face_gemma(sizes)
    tokens = random_tokens(arguments.n, arguments.length, sizes)
    model = bridge(plain)
    print(
        f"{component}, N = {arguments.n} windows of {arguments.length} tokens, top "
        f"{arguments.k} to {arguments.tol:g}, {torch.get_num_threads()} threads"
    )
    started = time.perf_counter()
    ours = tl_entk.top_eigendirections(
        model,
        tokens,
        component,
        arguments.k,
        tol=arguments.tol,
        memory_budget=8 * 2**30,
        block_size=1,
    )
    whole = time.perf_counter() - started
    print(f"ours:  {whole:7.1f} s in all, {ours.provenance['products']} products; residuals")
    print(f"       {listed(ours.residuals)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "twin.safetensors"
        started = time.perf_counter()
        twin = Twin(plain, tokens, component)
        recipe = tl_entk.leading_eigenpairs(
            twin, arguments.k, tol=1e-12, max_products=2 * arguments.k, resume=checkpoint
        )
        fifty = time.perf_counter() - started
        below = int((recipe.residuals <= arguments.tol).sum())
        print(f"twin:  {fifty:7.1f} s for {2 * arguments.k} plain steps, {below} of {arguments.k} "
              "pairs converged; residuals")  # fmt: skip
        print(f"       {listed(recipe.residuals)}", flush=True)
        low = (recipe.eigenvalues - ours.eigenvalues) / ours.eigenvalues
        print(
            f"{2 * arguments.k} plain steps / ours: {fifty / whole:.1f}x; the recipe's last "
            f"eigenvalue is {100 * float(low[-1]):.1f} % off",
            flush=True,
        )
        if arguments.recipe_only:
            return
        started = time.perf_counter()
        twin_eigen = tl_entk.leading_eigenpairs(
            twin, arguments.k, tol=arguments.tol, resume=checkpoint
        )
        one = fifty / (2 * arguments.k)  # the product that checks the checkpoint is not counted
        solved = fifty + time.perf_counter() - started - one
    print(f"twin:  {solved:7.1f} s to convergence, {twin_eigen.provenance['products']} products")
    difference = (ours.eigenvalues - twin_eigen.eigenvalues).abs() / twin_eigen.eigenvalues[0]
    print(
        f"same solver on the twin / ours: {solved / whole:.1f}x; eigenvalues differ by "
        f"{float(difference.max()):.1e} of the first"
    )


if __name__ == "__main__":
    main()
