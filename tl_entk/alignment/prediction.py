"""What a language model predicts after each window: the states that know nothing but that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.model.adapters import TransformerAdapter

# columns of log-probabilities: the tokens that are most probable on average
LIKELY = 1000
# windows whose logits are held at once: 64 rows of 262,144 logits are 67 MB
_ROWS = 64


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is predicted after n windows.

    Attributes:
        hidden: the final hidden vector, which the unembedding reads.
        log_probabilities: of the tokens that are most probable on average, up to 1000.
        predicted_unembedding: W_U's column of the most probable token.
        expected_unembedding: sum_y p(y) W_U[:, y].
    """

    hidden: Float[Tensor, "n d"]
    log_probabilities: Float[Tensor, "n likely"]
    predicted_unembedding: Float[Tensor, "n d"]
    expected_unembedding: Float[Tensor, "n d"]


def read_prediction(adapter: TransformerAdapter, hidden: Float[Tensor, "n d"]) -> Prediction:
    """What the unembedding makes of final hidden vectors.

    A cap of the logits (Gemma 2) is left out: it changes no order, but the probabilities.

    Args:
        adapter: of the model.
        hidden: final hidden vectors.

    Source: arXiv 2510.00468 reads activations alone; these baselines are this project's.
    """
    wide = torch.promote_types(hidden.dtype, torch.float32)
    weight = adapter.unembedding
    bias = adapter.by_name.get("unembed.b_U")
    offset = 0 if bias is None else bias.parameter.detach()
    top, expected = [], []
    total = torch.zeros(weight.shape[1], dtype=torch.float64, device=weight.device)
    for rows in hidden.split(_ROWS):
        probabilities = (rows @ weight + offset).to(wide).softmax(1)
        top.append(probabilities.argmax(1))
        expected.append(probabilities @ weight.T.to(wide))
        total += probabilities.sum(0)
    likely = total.topk(min(LIKELY, len(total))).indices
    logs = [
        (rows @ weight + offset).to(wide).log_softmax(1)[:, likely] for rows in hidden.split(_ROWS)
    ]
    predicted = weight[:, torch.cat(top)].T
    return Prediction(hidden, torch.cat(logs), predicted, torch.cat(expected))
