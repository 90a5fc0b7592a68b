"""Readouts: what the kernel is a kernel of.

A readout turns the logits (or the final hidden vector) at the read position into R numbers per
example; the kernel is scale * sum_r J_r J_r^T, with J_r the Jacobian of the r-th number.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.warn import warn_user
from tl_entk.model.readout_names import NAMES
from tl_entk.tools.values import check_at_least, check_kind, check_positive, check_seed

Targets = Int[Tensor, " n"] | None
Rows = slice | Int[Tensor, " b"]
Reads = Literal["logits", "final_hidden"]

LOGITS = "logits"
FINAL_HIDDEN = "final_hidden"
TARGETED = ("target_logit", "target_logprob", "target_margin")
# logits of the readout "top_logits"
TOP = 5


@dataclass(frozen=True)
class Readout:
    """A user's own readout.

    Attributes:
        function: maps logits (n, d_vocab_out), or final hidden vectors (n, d_model), to numbers
            of shape (n,) or (n, R). It must treat every row by itself, and sees the examples in
            batches.
        reads: ``"logits"`` or ``"final_hidden"`` (after ln_final, before the unembedding).
        name: what results are labelled with.
        scale: factor of the kernel (1/R for a mean of kernels).
        per_example: tensors with one row per example, such as answers; the function gets the
            batch's rows of each as further arguments.

    Raises:
        UserError: for what is no function, other states, or a scale that is not positive.

    Example:
        >>> def difference(logits, right, wrong):
        ...     at = lambda tokens: logits.gather(1, tokens[:, None])[:, 0]
        ...     return at(right) - at(wrong)
        >>> right, wrong = torch.tensor([1, 2]), torch.tensor([3, 3])
        >>> Readout(difference, per_example=(right, wrong), name="logit difference").reads
        'logits'
    """

    function: Callable[..., Tensor]
    reads: Reads = "logits"
    name: str = "custom"
    scale: float = 1.0
    per_example: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        check_kind("function", self.function, Callable, "a function of logits (n, d_vocab_out)")
        if self.reads not in ("logits", "final_hidden"):
            raise UserError(f"reads = {self.reads!r}: pass 'logits' or 'final_hidden'.")
        check_positive("scale", self.scale)
        check_kind("per_example", self.per_example, tuple, "a tuple of tensors")
        for one in self.per_example:
            if not isinstance(one, Tensor) or one.ndim == 0:
                raise UserError(
                    f"per_example has a {type(one).__name__}: pass tensors of one row per example."
                )


ReadoutLike = str | tuple[str, int] | Readout


@dataclass(frozen=True)
class BoundReadout:
    """A readout with its classes and targets fixed, ready to be evaluated on rows of the batch.

    ``flattened`` says that every output of every example is a row of the kernel.
    """

    name: str
    reads: Reads
    scale: float
    evaluate: Callable[[Tensor, Rows], Tensor]
    flattened: bool = False

    def take(self, chosen: Int[Tensor, " b"]) -> BoundReadout:
        """The same readout of some of the examples, which its rows then count."""
        return replace(self, evaluate=lambda values, rows: self.evaluate(values, chosen[rows]))

    def outputs(self, values: Float[Tensor, "b c"], rows: Rows) -> Float[Tensor, "b r"]:
        """The numbers read from these rows of the batch.

        Raises:
            UserError: if the function returns the wrong shape.
        """
        result = self.evaluate(values, rows)
        if not isinstance(result, Tensor):
            raise UserError(
                f"readout {self.name!r} returned a {type(result).__name__}; return a tensor (n,) "
                "or (n, R)."
            )
        result = result[:, None] if result.ndim == 1 else result
        if result.ndim != 2 or result.shape[0] != values.shape[0] or result.shape[1] == 0:
            raise UserError(
                f"readout {self.name!r} returned shape {tuple(result.shape)} for "
                f"{values.shape[0]} examples; return (n,) or (n, R) with R >= 1."
            )
        return result


# the logits, or the final hidden vector, as they are: a row for each of their numbers
LOGITS_READOUT = BoundReadout(LOGITS, "logits", 1.0, lambda values, rows: values, flattened=True)
FINAL_HIDDEN_READOUT = BoundReadout(
    FINAL_HIDDEN, "final_hidden", 1.0, lambda values, rows: values, flattened=True
)


def bind_readout(
    readout: ReadoutLike,
    *,
    n: int,
    d_vocab_out: int,
    targets: Targets = None,
    class_slice: slice | None = None,
    device: torch.device | None = None,
) -> BoundReadout:
    """Check a readout and fix its classes and targets.

    Args:
        readout: a name, ``("class", c)`` or a Readout.
        n: number of examples.
        d_vocab_out: number of logits.
        targets: class of every example for the target readouts; default the model's top token.
        class_slice: the classes that the readout sees; default all. Class numbers stay those
            of the whole vocabulary.
        device: where the logits are.

    Raises:
        UserError: for an unknown readout, an empty slice, a class or target out of range, or
            targets that the readout does not use.
    """
    if isinstance(readout, Readout):
        if targets is not None or class_slice is not None:
            raise UserError(
                "targets and class_slice are for the named readouts: give your own Readout its "
                "per_example tensors, and slice the logits in its function."
            )
        return _bind_own(readout, n, device)
    if not (class_slice is None or isinstance(class_slice, slice)):
        raise UserError(f"class_slice is {class_slice!r}: pass a slice, for example slice(0, 10).")
    classes = _slice_classes(d_vocab_out, class_slice).to(device)
    if len(classes) == 0:
        raise UserError(f"class_slice {class_slice} holds none of the {d_vocab_out} classes.")
    if isinstance(readout, tuple):
        return _bind_class(readout, classes, targets)
    if callable(readout):
        raise UserError("a function of your own is passed as tl_entk.Readout(function).")
    if not isinstance(readout, str) or readout not in (*NAMES, LOGITS):
        raise UserError(
            f"unknown readout {readout!r}: pass one of {', '.join(NAMES)}, logits, ('class', c) or "
            "a tl_entk.Readout."
        )
    if readout == "target_margin" and len(classes) < 2:
        raise UserError("target_margin compares two classes: the readout sees one.")
    if targets is not None:
        if readout not in TARGETED:
            raise UserError(f"readout {readout!r} uses no targets: leave them out.")
        targets = check_targets(targets, n, classes).to(device)
    return BoundReadout(
        readout,
        "logits",
        _scale(readout, classes),
        _evaluate(readout, classes, targets),
        flattened=readout == LOGITS,
    )


def _slice_classes(d_vocab_out: int, class_slice: slice | None) -> Int[Tensor, " c"]:
    """Numbers of the classes that a readout sees.

    Raises:
        UserError: for a slice of something else.
    """
    chosen = class_slice or slice(None)
    try:
        return torch.tensor(range(d_vocab_out)[chosen], dtype=torch.long)
    except (TypeError, ValueError) as error:
        raise UserError(f"class_slice {class_slice}: pass integers, slice(0, 10).") from error


def _bind_own(readout: Readout, n: int, device: torch.device | None) -> BoundReadout:
    for tensor in readout.per_example:
        if len(tensor) != n:
            raise UserError(
                f"a per_example tensor of readout {readout.name!r} has {len(tensor)} rows for {n} "
                "examples: pass one row per example."
            )
    per_example = [tensor.to(device) for tensor in readout.per_example]

    def evaluate(values: Tensor, rows: Rows) -> Tensor:
        return readout.function(_widen(values), *[tensor[rows] for tensor in per_example])

    return BoundReadout(readout.name, readout.reads, readout.scale, evaluate)


def _scale(readout: str, classes: Tensor) -> float:
    """One over the number of kernels that the readout is the mean of."""
    return {"class_trace": 1 / len(classes), "top_logits": 1 / min(TOP, len(classes))}.get(
        readout, 1.0
    )


def _bind_class(readout: tuple, classes: Tensor, targets: Targets) -> BoundReadout:
    if len(readout) != 2 or readout[0] != "class" or not hasattr(readout[1], "__index__"):
        raise UserError(f"unknown readout {readout!r}: a single class is ('class', c).")
    c = operator.index(readout[1])
    if c not in classes.tolist():
        raise UserError(
            f"class {c} is out of range: the readout sees classes {int(classes[0])} to "
            f"{int(classes[-1])}."
        )
    if targets is not None:
        raise UserError("readout ('class', c) uses no targets: leave them out.")
    return BoundReadout(f"class {c}", "logits", 1.0, lambda logits, rows: _widen(logits)[:, c])


def check_targets(targets: Tensor, n: int, classes: Tensor) -> Tensor:
    """Targets as int64, one per example, each among the classes.

    Raises:
        UserError: otherwise, with the offending number.
    """
    try:
        targets = torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"targets is no tensor of integers: pass one per example, ({n},)."
        ) from error
    if targets.shape != (n,):
        raise UserError(f"targets has shape {tuple(targets.shape)}; pass one per example, ({n},).")
    if targets.dtype.is_floating_point or targets.dtype == torch.bool:
        raise UserError(f"targets has dtype {targets.dtype}; pass class numbers as integers.")
    targets = targets.long().to(classes.device)
    outside = ~torch.isin(targets, classes)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise UserError(
            f"target {int(targets[row])} of example {row} is out of range: the readout sees "
            f"classes {int(classes[0])} to {int(classes[-1])}."
        )
    return targets


def _widen(values: Tensor) -> Tensor:
    """In float32 at least: sums over a vocabulary overflow, or lose digits, in half precision."""
    return values if values.dtype.itemsize >= 4 else values.float()


def _evaluate(readout: str, classes: Tensor, targets: Targets) -> Callable[[Tensor, Rows], Tensor]:
    def evaluate(narrow: Tensor, rows: Rows) -> Tensor:
        logits = _widen(narrow)
        seen = logits[:, classes] if len(classes) < logits.shape[1] else logits
        if readout == "mean_logit":
            return seen.mean(1)
        if readout in ("class_trace", LOGITS):
            return seen
        if readout == "logsumexp":
            return seen.logsumexp(1)
        if readout == "top_logits":
            return seen.topk(min(TOP, seen.shape[1]), 1).values
        if targets is None and narrow.dtype.itemsize < 4:
            _warn_of_ties(seen.detach(), narrow.dtype)
        chosen = classes[seen.detach().argmax(1)] if targets is None else targets[rows]
        logit = logits.gather(1, chosen[:, None])[:, 0]
        if readout == "target_logit":
            return logit
        if len(classes) == 1:
            return logit - logit  # of one class the probability is 1
        others = seen.masked_fill(classes == chosen[:, None], -torch.inf)
        if readout == "target_margin":
            return logit - others.amax(1)
        # log p = -log(1 + sum_c exp(z_c - z_y)): in logit - logsumexp, and in its gradient, the
        # digits cancel where p is nearly 1
        return -torch.nn.functional.softplus(others.logsumexp(1) - logit)

    return evaluate


def _warn_of_ties(logits: Float[Tensor, "b c"], dtype: torch.dtype) -> None:
    """Warn where the model's number format does not tell its largest logits apart.

    Warns:
        UserWarning: says what to do.
    """
    if logits.shape[1] > 1:
        first, second = logits.topk(2, 1).values.unbind(1)
        if bool((first == second).any()):
            warn_user(
                f"some windows have several largest logits that are equal in {dtype}, and the "
                "target is the first of them: pass targets, or compute in float32 (model.float())."
            )


def sampled_class_trace(signs: int = 16, seed: int = 0) -> Readout:
    """A readout whose kernel estimates the class trace with few backward passes.

    For signs s_c drawn at random, one for each class and the same for every example, the kernel
    of sum_c s_c z_c / sqrt(C) has the class trace (1/C) sum_c K_cc as its mean. The mean of P
    such kernels is off by about sqrt(2 / P) of the size of the cross terms between classes.

    Args:
        signs: number P of random sign vectors, and so of backward passes.
        seed: of the signs.

    Raises:
        UserError: if signs is not positive, or for what is no seed.

    Source: Hutchinson's trace estimator, with the classes as the trace's index.

    Example:
        >>> from tl_entk.kernel.blocks import kernel_blocks
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> estimate = kernel_blocks(model, data.tokens, sampled_class_trace(200)).total()
        >>> exact = kernel_blocks(model, data.tokens, "class_trace").total()
        >>> bool((estimate - exact).norm() < 0.1 * exact.norm())
        True
    """
    check_at_least("signs", signs)
    check_seed(seed)

    @functools.lru_cache(maxsize=1)
    def drawn(classes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        found = torch.randint(0, 2, (classes, signs), generator=generator, dtype=torch.int8)
        return (2 * found - 1).to(device, dtype) / classes**0.5

    def project(logits: Tensor) -> Tensor:
        return logits @ drawn(logits.shape[1], logits.dtype, logits.device)

    name = f"class trace by {signs} random signs, seed {seed}"
    return Readout(project, name=name, scale=1 / signs)
