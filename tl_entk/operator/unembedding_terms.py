"""The unembedding's part of the flattened logit kernel, in closed form: no network is run.

Logits z_n = W_U^T r_n + b_U have the Jacobian delta_cc' r_n with respect to W_U: its kernel is
(R R^T) x I over the C logits, R the (N, d) final hidden vectors. In the whitened space of W_U
that is (R R^T) x P, with P the projector on the span (I as a rule): the same eigenvalues, each as
often as the span has dimensions instead of C times. What this kernel has outside the span of W_U
is R R^T again. Of a parameter that is embedding and unembedding, the cross terms reach out of the
span: there the operator is the part of the kernel within it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.operator.suffix import Gradients
from tl_entk.tools.ranks import ALONE, Ranks


@dataclass(frozen=True, eq=False)
class UnembeddingTerms:
    """Products with the kernels of W_U and b_U.

    Attributes:
        hidden: (N, d) final hidden vectors.
        span: projector on the span of W_U.
        weight: whether W_U belongs to the component.
        bias: whether b_U does.
        shared: the gradients' key of the embedding that is the same parameter as W_U, if that
            is wanted as a whole.
        at_rows: (d, rows) columns of S^-1 W_U for the rows of that embedding's gradient.
        ranks: processes that the N examples are split over; ``hidden`` has this one's.
    """

    hidden: Float[Tensor, "n d"]
    span: Float[Tensor, "d d"]
    weight: bool
    bias: bool
    shared: str | None = None
    at_rows: Float[Tensor, "d rows"] | None = None
    ranks: Ranks = ALONE

    def multiply(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        """Kernel of W_U and b_U times some vectors, in the whitened space."""
        result = torch.zeros_like(x)
        if self.weight:
            inner = self.hidden.T @ x.flatten(1)
            self.ranks.add_up(inner)
            result += (self.hidden @ inner).view_as(x)
        if self.bias:
            total = x.sum(0)
            self.ranks.add_up(total)
            result += total
        return torch.einsum("de,neb->ndb", self.span, result)

    def exchange(
        self,
        cotangents: Sequence[Float[Tensor, "n d"]],
        gradients: Sequence[Gradients],
        ranks: Ranks = ALONE,
    ) -> list[Float[Tensor, "n d"]] | None:
        """Cross terms of a tied embedding, between the pull and the push of its other role.

        Adds the unembedding's gradient at the embedding's rows to ``gradients``, and returns
        what the embedding's gradient changes through the unembedding; both are taken and given
        outside the whitened space (before the root is applied). ``gradients`` are added up over
        all examples, those of other processes (``ranks``) too.
        """
        if self.shared is None:
            return None
        assert self.at_rows is not None
        results = []
        for cotangent, gradient in zip(cotangents, gradients, strict=True):
            G = gradient[self.shared].to(self.hidden.dtype)
            # a cotangent is S^1/2 x here, and the logits' cotangent W_U^T S^-1/2 x
            results.append((self.hidden @ G.T) @ self.at_rows.T)
            other = (cotangent @ self.at_rows).T @ self.hidden
            ranks.add_up(other)
            gradient[self.shared] = G + other
        return results
