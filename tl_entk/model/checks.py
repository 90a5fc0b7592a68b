"""Checks of what the user passed, each with the mend in its message."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter
from tl_entk.model.sites import EMBEDDING, TIED

DEFAULT_MEMORY_BUDGET = 4 * 2**30

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

Position = int | Int[Tensor, " n"]


def check_model(adapter: ModelAdapter) -> None:
    """Refuse a model whose gradients would not be those of the function it computes.

    Raises:
        UserError: in train mode (dropout is only active there).
        RuntimeError: inside torch.inference_mode, where no gradient can be taken.

    Warns:
        UserWarning: if the weights look processed: the kernel depends on the parametrization.
    """
    if any(module.training for module in adapter.model.modules() if _matters(module)):
        raise UserError("the model is in train mode: call model.eval() first.")
    if torch.is_inference_mode_enabled():
        raise RuntimeError("no gradients inside torch.inference_mode(): leave it first.")
    if adapter.processed:
        warnings.warn(
            f"the weights look processed: {adapter.processed}. The eNTK depends on the "
            "parametrization; for the trained weights load the model without processing "
            "(from_pretrained_no_processing, or a bridge without compatibility mode).",
            UserWarning,
            stacklevel=4,
        )


def _matters(module: nn.Module) -> bool:
    """TransformerLens' model itself, and dropout and batch norms wherever they hide.

    Wrappers may keep a stale train flag, and a plain module computes the same in either mode.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm) or hasattr(module, "cfg"):
        return True
    return isinstance(module, nn.Dropout) and module.p > 0


def check_tokens(adapter: ModelAdapter, tokens: Any) -> Int[Tensor, "n t"]:
    """Tokens on the model's device, checked for shape, dtype and range.

    Raises:
        UserError: if tokens are no tensor,
            or for anything else that the model could not have meant.
    """
    cfg = adapter.cfg
    if not isinstance(tokens, Tensor):
        raise UserError(
            f"tokens is a {type(tokens).__name__}: pass an integer tensor (n, t), for example "
            "model.to_tokens(texts)."
        )
    if tokens.dtype not in _INTEGERS:
        raise UserError(f"tokens has dtype {tokens.dtype}: pass token numbers as torch.int64.")
    if tokens.ndim != 2:
        raise UserError(
            f"tokens has shape {tuple(tokens.shape)}: pass (examples, positions), for one "
            "example tokens[None]."
        )
    n, length = tokens.shape
    if n < 2:
        raise UserError("a kernel compares examples: pass at least two rows of tokens.")
    if not 1 <= length <= cfg.n_ctx:
        raise UserError(
            f"tokens has {length} positions, the model takes 1 to {cfg.n_ctx}: cut the windows."
        )
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= cfg.d_vocab:
        raise UserError(
            f"token {low if low < 0 else high} is out of range: the model's vocabulary is 0 to "
            f"{cfg.d_vocab - 1}. Was the text tokenized with this model's tokenizer?"
        )
    _refuse_padding(adapter.model, tokens)
    return tokens.long().to(adapter.device)


def check_inputs(adapter: ModelAdapter, inputs: Any) -> tuple[Shaped[Tensor, "n ..."], int]:
    """Inputs of a module of one's own, and how many outputs it has for each example.

    Raises:
        UserError: if the inputs, or what the module makes of them, are no tensor,
            or if outputs are not (n, C), or an example's depend on the other examples.
    """
    if not isinstance(inputs, Tensor):
        raise UserError(f"the inputs are a {type(inputs).__name__}: pass a tensor (n, ...).")
    if inputs.ndim < 1 or len(inputs) < 2:
        raise UserError("a kernel compares examples: pass at least two rows of inputs.")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        raise UserError("the inputs are not finite: drop or mend those examples.")
    inputs = inputs.detach().to(adapter.device)
    name = adapter.model_name
    try:
        with torch.no_grad():
            outputs, alone = adapter.model(inputs[:2]), adapter.model(inputs[:1])
    except (RuntimeError, IndexError) as error:
        raise UserError(
            f"{name} cannot take these inputs ({str(error).splitlines()[0]}): pass what its own "
            "call takes, examples first."
        ) from error
    if not isinstance(outputs, Tensor):
        raise UserError(
            f"{name} returns a {type(outputs).__name__}: wrap it in a module that returns a tensor "
            "(n, C), what the kernel is to be of."
        )
    if outputs.ndim != 2 or len(outputs) != 2:
        raise UserError(
            f"{name} returns shape {tuple(outputs.shape)} for two examples: wrap it in a module "
            "that returns (n, C), what the kernel is to be of."
        )
    tolerance = 1e-3 * float(outputs.abs().max())
    if not torch.allclose(alone, outputs[:1], rtol=1e-3, atol=tolerance):
        raise UserError(
            f"{name} mixes examples: what it returns for one depends on the others in the batch."
        )
    return inputs, outputs.shape[1]


def _refuse_padding(model: Any, tokens: Tensor) -> None:
    """Padded windows need an attention mask, which a kernel over positions does not have."""
    tokenizer = getattr(model, "tokenizer", None)
    pad, bos, eos = (getattr(tokenizer, f"{name}_token_id", None) for name in ("pad", "bos", "eos"))
    if pad is None:
        return
    is_pad = tokens == pad
    padded = is_pad.any(1)
    if pad in (bos, eos):
        # such a token may stand at the start or end of a window for its own sake, but not twice
        padded = is_pad[:, :2].all(1) | is_pad[:, -2:].all(1)
        padded &= tokens.shape[1] > 1
    if padded.any():
        row = int(padded.nonzero()[0])
        raise UserError(
            f"example {row} is padded (token {pad}): attention masks are not supported. Pass "
            "windows of one length without padding."
        )


def check_padding_row(adapter: ModelAdapter, names: list[str], tokens: Int[Tensor, "n t"]) -> None:
    """Refuse the row of an embedding that torch never gives a gradient.

    Raises:
        UserError: if tokens hold the padding_idx of an embedding whose kernel is wanted.
    """
    if EMBEDDING not in names and TIED not in names:
        return
    index = getattr(adapter.by_name[EMBEDDING].output.module, "padding_idx", None)
    if index is not None and bool((tokens == index).any()):
        raise UserError(
            f"token {index} is the padding_idx of {EMBEDDING}, which gets no gradient: leave the "
            "token out of the windows, or the embedding out of the components."
        )


def check_position(position: Any, n: int, length: int) -> Int[Tensor, " n"]:
    """The position to read of every example, counted from 0.

    Raises:
        UserError: if it is no position of the windows.
    """
    if isinstance(position, Tensor):
        counts = position.dtype in _INTEGERS and position.shape in ((), (n,))
    else:
        counts = hasattr(position, "__index__") and not isinstance(position, bool)
    if not counts:
        raise UserError(
            f"position {position!r}: pass an integer, or an integer tensor with one per example."
        )
    positions = torch.as_tensor(position)
    if int(positions.min()) < -length or int(positions.max()) >= length:
        raise UserError(
            f"position {position} is out of range: the windows have positions {-length} to "
            f"{length - 1}."
        )
    return (positions.long() % length).expand(n).clone()


def check_supported(adapter: ModelAdapter) -> None:
    """Refuse "every weight" of a model that has weights which are no site.

    Raises:
        UserError: names the parameters.
    """
    trainable = {name for name, p in adapter.model.named_parameters() if p.requires_grad}
    missing = [name for name in adapter.unsupported if name in trainable]
    if missing:
        experts = any("expert" in name for name in missing)
        raise UserError(
            f"{len(missing)} parameters of the model are not supported, for example "
            f"{missing[:3]}{' (a mixture of experts, which routes tokens apart)' * experts}: "
            "name the components you want instead of None; "
            "tl_entk.list_components(model) lists those there are."
        )


def check_memory_budget(memory_budget: int | None) -> int:
    """Bytes that a computation is planned for; 4 GiB where nothing was asked for.

    Raises:
        UserError: for less than 1 MiB.

    Example:
        >>> check_memory_budget(None) == 4 * 2**30
        True
    """
    if memory_budget is None:
        return DEFAULT_MEMORY_BUDGET
    if memory_budget < 2**20:
        raise UserError(
            f"memory_budget = {memory_budget} bytes is less than 1 MiB: pass bytes, for example "
            "2 * 2**30 for 2 GiB."
        )
    return memory_budget
