"""Leading eigenpairs of an operator: Lanczos steps until every wanted pair has converged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.warn import warn_user
from tl_entk.directions.basis import kernel_rank
from tl_entk.directions.checkpoint import check_resume, load_state, run_identity, save_state
from tl_entk.directions.complement import choose_width, is_searched, none_missed_above
from tl_entk.directions.cost import expected_products
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.forecast import Forecast
from tl_entk.directions.lanczos import (
    LanczosState,
    RitzPairs,
    allowed_residuals,
    first_state,
    restart,
    ritz_pairs,
    step,
)
from tl_entk.directions.scores import score_vectors
from tl_entk.directions.symmetric_operator import Products, SymmetricOperator, as_operator
from tl_entk.tools.arrays import to_tensor
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import (
    check_at_least,
    check_between,
    check_seed,
    check_share,
    is_integer,
)

_SECONDS_BETWEEN_CHECKPOINTS = 60.0


def leading_eigenpairs(
    operator: Products,
    k: int = 25,
    *,
    tol: float = 1e-3,
    seed: int = 0,
    block_size: int = 1,
    max_products: int | None = None,
    basis_budget: int | None = None,
    resume: str | Path | None = None,
    start: Float[Tensor, "rows m"] | None = None,
    progress: bool = False,
) -> EigenDirections:
    """The k largest eigenpairs of an operator, by block Lanczos with full reorthogonalization.

    Args:
        operator: symmetric positive semidefinite, from :func:`kernel_operator`, or anything with
            ``.shape`` and ``@``: a dense tensor, a scipy LinearOperator, an object of one's own.
            Its ``n`` and ``d`` (rows are N examples' d numbers; default 1), ``dtype``, ``device``,
            ``provenance``, ``identity`` and ``exact`` are used where it has them, see
            :class:`SymmetricOperator`.
        k: how many pairs.
        tol: a pair has converged when ||K v - theta v|| is at most tol theta_1, and at most 10 tol
            theta: of steeply falling eigenvalues the first alone says little. The run ends when
            all k have.
        seed: of the random first block.
        block_size: vectors multiplied at a time. Copies of an eigenvalue beyond so many are found
            by the search below, which takes products of its own.
        max_products: give up after so many vectors (default 20 k + 200), with a warning; the
            pairs that have not converged are flagged.
        basis_budget: bytes for the basis; when it is full, a thick restart keeps its best part.
        resume: file for checkpoints, written every minute, at the end and when interrupted. If
            it is there, the run goes on from it.
        start: vectors that are nearly those wanted: random mixtures of the first k make the first
            block, which a random one would have nearly nothing of.
        progress: show products, residuals and the time left.

    Returns:
        Eigenvalues, largest first; vectors (N, d, k) (or (N, k) where d = 1), scores, residuals
        and convergence of every pair. Directions beyond the kernel's rank, whose eigenvalues are
        rounding, are left out (``provenance["dropped"]`` says how many).
        When all have converged, what the basis lacks is searched from a random vector (up to 8
        products): multiple and clustered eigenvalues have copies there.
        ``provenance["none_missed_above"]`` says above which eigenvalue none is missing, but for one
        chance in a hundred; it is infinite for a run that ended before it could look.

    Raises:
        UserError: for no operator, and for settings or a checkpoint that do not fit it.
        OSError: if ``resume`` cannot be written to, before the first product.

    Warns:
        RuntimeWarning: if not all pairs have converged.

    Example:
        >>> from tl_entk.operator.build import kernel_operator
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> op = kernel_operator(model, data.tokens, "blocks.0.mlp.W_out")
        >>> leading_eigenpairs(op, k=3).vectors.shape
        torch.Size([25, 64, 3])
        >>> dense = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
        >>> leading_eigenpairs(dense, k=2).eigenvalues.round(decimals=3).tolist()
        [3.0, 2.0]
    """
    operator = as_operator(operator)
    rows = operator.shape[0]
    check_request(rows, k, tol, block_size, max_products, seed)
    limit = 20 * k + 200 if max_products is None else max_products
    capacity = _most_columns(operator, k, block_size, basis_budget)
    if start is not None:
        mixed = _mix(_check_start(start, rows)[:, :k].cpu().double(), block_size, seed)
        start = mixed[operator.rows.own]
    path = check_resume(resume, operator.ranks)
    kernel = run_identity(operator, seed)
    if path is not None and operator.ranks.from_first(path.exists()):
        state = load_state(path, kernel, operator.rows, operator.device)
        _check_same_kernel(operator, state, path)
    else:
        state = first_state(
            operator.rows,
            block_size,
            seed=seed,
            dtype=operator.dtype,
            device=operator.device,
            vectors=start,
        )
    saver = _Saver(path, kernel, state.products)
    forecast = Forecast(k, tol, expected_products(k, block_size), operator.dtype)
    progress = progress and operator.ranks.first
    with Progress("products", forecast.total, progress) as bar, saver.save_at_exit(state):
        bar.advance(state.products)
        pairs = ritz_pairs(state, k) if state.known >= k else None
        while not _is_finished(state, pairs, tol, limit, capacity):
            following, before = state.copy(), state.products
            width = _choose_width(following, pairs, tol, k, capacity)
            step(following, operator.multiply_own, width)
            # at once: what is saved when a run is interrupted is the state before or after
            vars(state).update(vars(following))
            if state.known >= k:
                pairs = ritz_pairs(state, k)
                bar.expect(forecast.update(state.products, pairs))
            bar.advance(state.products - before, forecast.note)
            saver.save_every_minute(state)
    assert pairs is not None
    settings = {
        "seed": seed,
        "block_size": block_size,
        "none_missed_above": none_missed_above(state),
    }
    return _collect_directions(operator, state, pairs, tol, settings)


def _check_start(start: Any, rows: int) -> Tensor:
    """Vectors to start from.

    Raises:
        UserError: if they are no numbers, their shape does not fit, or they are not finite.
    """
    start = to_tensor(start, "start")
    if start.ndim != 2 or len(start) != rows or not 1 <= start.shape[1] <= rows:
        raise UserError(f"start has shape {tuple(start.shape)}: pass columns of {rows} numbers.")
    if not bool(start.isfinite().all()):
        raise UserError("start is not finite: leave it out, or compute it anew.")
    return start


def _mix(vectors: Float[Tensor, "rows m"], block: int, seed: int) -> Float[Tensor, "rows b"]:
    """Random mixtures of some vectors, and random ones where there are too few.

    Krylov vectors of one mixture hold what is wanted of all: as a block of their own they would
    take as many products to say what is known.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, m = vectors.shape
    mixed = vectors @ torch.randn(m, min(block, m), generator=generator, dtype=torch.float64)
    more = torch.randn(rows, max(0, block - m), generator=generator, dtype=torch.float64)
    return torch.cat([mixed, more], 1)


def check_request(
    rows: int, k: int, tol: float, block_size: int, max_products: int | None, seed: int
) -> None:
    """Refuse settings that do not fit the kernel.

    Args:
        rows: of the kernel.
        k: pairs wanted.
        tol: relative residual.
        block_size: vectors multiplied at a time.
        max_products: vectors multiplied at most; None for what k needs.
        seed: of the start.

    Raises:
        UserError: says what to pass.
    """
    check_between("k", k, rows, f"the kernel has {rows} eigendirections")
    check_share("tol", tol, "a relative residual", 1e-3)
    if not is_integer(block_size) or not 1 <= block_size <= rows:
        raise UserError(f"block_size = {block_size!r}: pass 1 to {rows} vectors.")
    check_seed(seed)
    if max_products is not None:
        check_at_least("max_products", max_products)
        if max_products < k:
            raise UserError(
                f"max_products = {max_products} is less than k = {k}: pass at least 2 k."
            )


def _most_columns(operator: SymmetricOperator, k: int, block_size: int, budget: int | None) -> int:
    """Basis columns that fit the budget; two copies of the basis exist while it grows.

    Raises:
        UserError: if the budget is no number of bytes, or they are too few for a restart to make
            progress; says what would do.
    """
    if budget is None:
        return operator.shape[0] + block_size
    check_at_least("basis_budget", budget)
    # the first process has the most
    own = operator.ranks.share(operator.n, 0).stop * operator.d
    column = 2 * own * operator.dtype.itemsize
    least = least_columns(k, block_size)
    if budget // column < least:
        raise UserError(
            f"a basis of {least} vectors takes {least * column / 2**20:.0f} MiB, more than "
            f"{budget / 2**20:.0f} MiB: pass a larger memory budget, or a smaller k or block_size."
        )
    return budget // column


def least_columns(k: int, block_size: int) -> int:
    """The smallest basis that a restart can go on from."""
    return k + max(5, 2 * block_size)


def _is_finished(
    state: LanczosState, pairs: RitzPairs | None, tol: float, limit: int, capacity: int
) -> bool:
    if pairs is None:
        return False
    if state.exhausted or state.products >= limit:
        return True
    return _have_converged(state, pairs, tol) and is_searched(state, pairs.values, capacity)


def _have_converged(state: LanczosState, pairs: RitzPairs, tol: float) -> bool:
    allowed = allowed_residuals(pairs.values, tol, state.basis.dtype)
    return bool((pairs.residuals <= allowed).all())


def _choose_width(
    state: LanczosState, pairs: RitzPairs | None, tol: float, k: int, capacity: int
) -> int | None:
    """How many fresh vectors are multiplied next, in a basis that has room for what they give."""
    width = None
    if pairs is not None:
        width = choose_width(state, pairs.values, _have_converged(state, pairs, tol))
    fresh = state.basis.shape[1] - state.known
    if not state.searched and state.basis.shape[1] + (width or fresh) > capacity:
        restart(state, max(k, (k + capacity - 2 * fresh) // 2))
    return width


def _check_same_kernel(operator: SymmetricOperator, state: LanczosState, path: Path) -> None:
    """One product tells whether the checkpoint is of this very kernel.

    Raises:
        UserError: if it is not.
    """
    if state.known == 0:
        return
    fresh = state.basis[:, state.known :]
    column = state.projected[:, [0]].to(state.basis.device, state.basis.dtype)
    coupling = state.coupling[:, [0]].to(state.basis.device, state.basis.dtype)
    wanted = state.basis[:, : state.known] @ column + fresh @ coupling
    found = operator.multiply_own(state.basis[:, [0]]) / state.scale
    loose = 1e-3 if operator.exact else 5e-2
    wrong, size = state.rows.norms(found - wanted), state.rows.norms(wanted)
    if not float(wrong) <= loose * float(size):
        raise UserError(
            f"{path} is a checkpoint of another kernel (the model's weights differ): pass "
            "another path, or delete it."
        )


@dataclass
class _Saver:
    """Writes checkpoints, if there is a path for them."""

    path: Path | None
    kernel: dict[str, str]
    products: int
    saved: float = field(default_factory=time.monotonic)

    def save_every_minute(self, state: LanczosState) -> None:
        due = time.monotonic() - self.saved >= _SECONDS_BETWEEN_CHECKPOINTS
        if self.path is not None and state.rows.ranks.from_first(due):
            self.save(state)

    def save(self, state: LanczosState) -> None:
        if self.path is None:
            return
        new = state.products > self.products or not self.path.exists()
        if state.rows.ranks.from_first(new):
            save_state(self.path, state, self.kernel)
            self.products = state.products
        self.saved = time.monotonic()

    @contextmanager
    def save_at_exit(self, state: LanczosState) -> Iterator[None]:
        """However the run ends, what it has is kept.

        Several processes save it when they all have ended well: none can wait for another that
        may have failed.
        """
        try:
            yield
        except BaseException:
            if state.rows.ranks.count == 1:
                self.save(state)
            raise
        self.save(state)


def _collect_directions(
    operator: SymmetricOperator,
    state: LanczosState,
    pairs: RitzPairs,
    tol: float,
    settings: dict[str, Any],
) -> EigenDirections:
    # a kernel of zeros keeps one direction, as eigendecompose does
    k = max(1, kernel_rank(pairs.values, state.rows.count, state.basis.dtype))
    values, dropped = pairs.values[:k], len(pairs.values) - k
    coordinates = pairs.coordinates[:, :k].to(state.basis.device, state.basis.dtype)
    flat = state.basis[:, : state.known] @ coordinates
    flat = flat / state.rows.norms(flat).to(flat)
    residuals = pairs.residuals[:k]
    if tol < 100 * torch.finfo(flat.dtype).eps or not operator.exact:
        residuals = torch.maximum(residuals, _measure_residuals(operator, flat, values))
    converged = residuals <= allowed_residuals(values, tol, flat.dtype)
    if not bool(converged.all()) and operator.ranks.first:
        warn_user(
            f"{int((~converged).sum())} of {k} pairs have not converged to {tol:g} after "
            f"{state.products} products (worst residual {float(residuals.max()):.1e}): "
            "raise max_products or tol, and see .converged.",
            RuntimeWarning,
        )
    whole = state.rows.join(flat).cpu()
    scores, vectors, share = score_vectors(whole.reshape(operator.n, operator.d, -1))
    if dropped:
        settings = settings | {"dropped": dropped}
    return EigenDirections(
        values,
        scores,
        vectors,
        share,
        residuals,
        converged,
        {**operator.provenance, **settings, "tol": tol, "products": state.products},
        space=operator.space,
    )


def _measure_residuals(
    operator: SymmetricOperator, vectors: Float[Tensor, "rows k"], values: Float[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Residuals by products: the recurrence's are blind to the rounding of products."""
    theta = values.to(vectors.device, vectors.dtype)
    errors = operator.rows.norms(operator.multiply_own(vectors) - vectors * theta)
    return errors / values[0].abs().clamp_min(torch.finfo(torch.float64).tiny)
