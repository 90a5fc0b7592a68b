"""The plain twin: dense Jacobians by torch.func.jacrev, sharing no code with the kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from tl_entk.model.adapters import adapt


def own_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Every parameter once per module that holds it: a tied one twice, a module's aliases once."""
    return {
        f"{path}.{name}".lstrip("."): parameter
        for path, module in torch.nn.Module.named_modules(model)
        for name, parameter in module._parameters.items()
        if parameter is not None
    }


def parameter_names(model: torch.nn.Module) -> dict[str, list[str]]:
    """Component name -> the paths under which the model holds that site's parameter."""
    paths: dict[int, list[str]] = {}
    for path, parameter in own_parameters(model).items():
        paths.setdefault(id(parameter), []).append(path)
    return {site.name: paths[id(site.parameter)] for site in adapt(model).sites}


def jacobians(model, tokens, readout, position=-1, functional=True) -> dict[str, Tensor]:
    """Component name -> (N, R, *shape) Jacobian of readout(logits at position)."""
    everything = own_parameters(model)
    canonical: dict[int, str] = {}
    for path, parameter in everything.items():
        canonical.setdefault(id(parameter), path)
    first = {name: paths[0] for name, paths in parameter_names(model).items()}

    def outputs(chosen):
        given = {path: p.detach() for path, p in everything.items()}
        for path, p in everything.items():
            key = canonical[id(p)]
            if key in chosen:
                given[path] = chosen[key]
        # every name is given, so tying must not be redone (it corrupts bridges)
        logits = functional_call(model, given, (tokens,), tie_weights=False)
        result = readout(logits[torch.arange(len(tokens)), position])
        return result[:, None] if result.ndim == 1 else result

    inputs = {key: everything[key].detach() for key in sorted(set(first.values()))}
    dense = jacrev(outputs, chunk_size=8)(inputs) if functional else _row_by_row(outputs, inputs)
    return {name: dense[key].detach() for name, key in first.items()}


def _row_by_row(outputs, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with one backward pass per row, for models with an old autograd.Function."""
    leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
    result = outputs(leaves)
    rows = [
        torch.autograd.grad(y, list(leaves.values()), retain_graph=True, allow_unused=True)
        for y in result.flatten()
    ]
    return {
        key: torch.stack(
            [torch.zeros_like(leaf) if row[i] is None else row[i] for row in rows]
        ).unflatten(0, result.shape)
        for i, (key, leaf) in enumerate(leaves.items())
    }


def kernel(jacobian: Tensor, scale: float = 1.0) -> Tensor:
    """J J^T over everything but the examples, summed over outputs: (N, N)."""
    flat = jacobian.flatten(1)
    return scale * flat @ flat.T


def head_slices(site, jacobian: Tensor) -> list[Tensor]:
    """The head slices of a weight's Jacobian, cut from the parameter's own layout."""
    heads = site.heads.count
    body = jacobian.shape[2:]
    if body[0] == heads and (len(body) == 3 or (site.kind == "bias" and len(body) == 2)):
        return [jacobian[:, :, h] for h in range(heads)]  # HookedTransformer: head axis first
    if site.kind == "bias":
        return list(jacobian.chunk(heads, dim=2))
    out_first = tuple(body) == (site.d_out, site.d_in) and not is_conv1d(site)
    along_first = (site.heads.along == "output") == out_first
    return list(jacobian.chunk(heads, dim=2 if along_first else 3))


def is_conv1d(site) -> bool:
    return type(site.output.module).__name__ == "Conv1D"


def relative_error(ours: Tensor, reference: Tensor, scale: float | None = None) -> float:
    """max |difference| over max |reference|, or over the given scale for blocks that are zero."""
    biggest = float(reference.abs().max())
    if scale is not None and biggest < 1e-9 * scale:
        biggest = scale
    return float((ours.double() - reference.double()).abs().max()) / biggest
