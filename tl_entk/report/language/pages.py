"""A page for every direction of a language model that a label chose, and for the leading ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk import plot
from tl_entk.alignment.best_directions import DirectionRow, LayerDirection
from tl_entk.alignment.readout_sweep import (
    LATER_LAYERS,
    component_patterns,
    over_layers,
    resolve_readout,
)
from tl_entk.alignment.splitting import halves
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.examples import take_top
from tl_entk.directions.token_scores import score_covariances
from tl_entk.experiments.language.judging import FLATTENED
from tl_entk.experiments.language.kernels import ALL_LOGITS
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.model.adapters import adapt_transformer
from tl_entk.report.direction_pages import (
    DirectionPage,
    DirectionPages,
    Near,
    rows_shown,
    show_windows,
    window_groups,
)
from tl_entk.report.parts import Cells, Picture, interval, slug
from tl_entk.weight_space.position_contributions import position_contributions

LEADING, TOKENS, NEIGHBORS = 10, 14, 6


@dataclass(frozen=True)
class _Place:
    """One direction of one method."""

    method: str
    place: LayerDirection

    @property
    def name(self) -> str:
        return f"{self.method}, {self.place}"

    @property
    def id(self) -> str:
        return f"direction-{slug(self.name)}"


@dataclass(frozen=True, eq=False)
class _Look:
    """What a page shows of the direction's scores.

    Attributes:
        scores: (n,).
        facts: eigenvalue and the like.
        parts: (n, t) what every position contributes; None where that is not known.
        why_not: it is not.
        rows: of the tables in which it was chosen.
    """

    scores: Float[Tensor, " n"]
    facts: Sequence[tuple[str, str]]
    parts: Float[Tensor, "n t"] | None
    why_not: str
    rows: Sequence[DirectionRow]


def best_pages(result: LanguageResult) -> dict[str, str]:
    """Label to the address of the kernel direction that is best for it within the train half."""
    return {row.feature: f"#{_Place(method, row.place).id}" for method, row in _best(result)}


def _best(result: LanguageResult) -> list[tuple[str, DirectionRow]]:
    """The best kernel direction of every label, chosen as directions are: on the train half."""
    tables = {name: result.judged.tables[name] for name in result.judged.entk_methods}
    return [
        max(((name, table.rows[index]) for name, table in tables.items()), key=_train_ap)
        for index in range(len(result.data.features))
    ]


def _train_ap(choice: tuple[str, DirectionRow]) -> float:
    return choice[1].train_ap


def direction_pages(
    result: LanguageResult, *, memory_budget: int | None = None, progress: bool = False
) -> DirectionPages:
    """Pages of the directions chosen for labels, and of the leading ones of the best layers.

    Args:
        result: of ``run_language``.
        memory_budget: bytes for what positions contribute.
        progress: show bars.
    """
    looks = dict(_look(result, memory_budget, progress))
    places = sorted(looks, key=lambda place: _rank(result, place, looks[place]))
    scores = torch.stack([looks[place].scores for place in places], 1)
    tokens = _list_tokens(result, scores)
    near = _find_near(result, places, scores)
    pages = [
        _page(result, place, looks[place], tokens[index], near[index])
        for index, place in enumerate(places)
    ]
    return DirectionPages(
        pages,
        show_windows(
            result.data.windows,
            result.decode,
            _in_test_half(result).tolist(),
            result.model.tokenizer.all_special_ids,
        ),
        ("direction", "AP", "labels", "raises", "lowers", "eigenvalue / first"),
        best_pages(result),
    )


def _rank(result: LanguageResult, place: _Place, look: _Look) -> tuple[Any, ...]:
    """The methods in order, then the directions that labels chose, the best first."""
    best = max((row.ap.value for row in look.rows), default=-1.0)
    return result.judged.entk_methods.index(place.method), -best, place.place.direction


def _look(
    result: LanguageResult, memory_budget: int | None, progress: bool
) -> list[tuple[_Place, _Look]]:
    """What there is to show of every direction that has a page."""
    found = []
    for method, layers in _wanted(result).items():
        rows = _rows_by_place(result.judged.tables[method].rows)
        for layer, indices in layers.items():
            eigen = result.eigen(method)[layer]
            chosen = eigen.take(indices)
            parts, why_not = _take_apart(result, method, layer, chosen, memory_budget, progress)
            for column, index in enumerate(indices):
                place = LayerDirection(layer, index)
                look = _Look(
                    chosen.scores[:, column].cpu(),
                    _facts(eigen, index),
                    None if parts is None else parts[..., column],
                    why_not,
                    rows.get(place, []),
                )
                found.append((_Place(method, place), look))
    return found


def _wanted(result: LanguageResult) -> dict[str, dict[str, list[int]]]:
    """Method to layer to directions that have a page."""
    judged = result.judged
    wanted = {_Place(method, row.place) for method, row in _best(result)}
    for method in judged.shown_kernels:
        wanted |= {_Place(method, row.place) for row in judged.tables[method].rows}
        best = judged.best_layer[method]
        count = min(LEADING, len(result.eigen(method)[best].eigenvalues))
        wanted |= {_Place(method, LayerDirection(best, index)) for index in range(count)}
    found: dict[str, dict[str, list[int]]] = {}
    for place in sorted(wanted, key=lambda one: one.place.direction):
        layer = place.place.layer
        assert layer is not None
        found.setdefault(place.method, {}).setdefault(layer, []).append(place.place.direction)
    return found


def _rows_by_place(rows: Sequence[DirectionRow]) -> dict[LayerDirection, list[DirectionRow]]:
    found: dict[LayerDirection, list[DirectionRow]] = {}
    for row in rows:
        found.setdefault(row.place, []).append(row)
    return found


def _facts(eigen: EigenDirections, index: int) -> list[tuple[str, str]]:
    first = float(eigen.eigenvalues[0])
    return [
        ("eigenvalue", f"{float(eigen.eigenvalues[index]):.3g}"),
        ("of the first", f"{float(eigen.eigenvalues[index]) / first:.2g}"),
        ("residual", f"{float(eigen.residuals[index]):.1e}"),
        ("rank-1 share", f"{float(eigen.rank1_share[index]):.2f}"),
    ]


def _take_apart(
    result: LanguageResult,
    method: str,
    layer: str,
    eigen: EigenDirections,
    memory_budget: int | None,
    progress: bool,
) -> tuple[Float[Tensor, "n t k"] | None, str]:
    """What every position contributes to the scores of the windows shown, or why it is unknown."""
    settings, model = result.settings, result.model.model
    tokens, rows = result.data.windows.tokens, rows_shown(eigen.scores.cpu())
    if method == FLATTENED:
        how: dict[str, Any] = {"components": f"blocks.{layer}.{settings.weight}"}
    else:
        candidate = result.judged.candidates[method]
        if candidate.readout == ALL_LOGITS:
            return None, "Tokens are not tinted: this kernel of all logits is normalized."
        n_layers = adapt_transformer(model).n_layers
        how = {
            "components": component_patterns(candidate.component, layer, n_layers),
            "readout": resolve_readout(candidate.readout, settings.seed),
            "normalization": candidate.normalization,
            "each_component": candidate.component == LATER_LAYERS,
        }
    try:
        found = position_contributions(
            model,
            tokens,
            how.pop("components"),
            eigen,
            rows=rows,
            memory_budget=memory_budget,
            progress=progress,
            **how,
        )
    except UserError as error:
        return None, f"Tokens are not tinted: {error}"
    parts = torch.zeros(len(tokens), tokens.shape[1], eigen.scores.shape[1])
    parts[rows] = found.values.float()
    return parts, ""


def _list_tokens(
    result: LanguageResult, scores: Float[Tensor, "n k"]
) -> list[tuple[list[str], list[str]]]:
    """Tokens whose logits go up and down with the scores, among those that occur."""
    changes = score_covariances(result.model.model, result.data.windows.tokens, scores)
    occurring = torch.cat(
        [result.data.windows.tokens.flatten(), torch.tensor(result.data.predicted)]
    ).unique()
    tokenizer = result.model.tokenizer
    special = set(tokenizer.all_special_ids)
    shown = torch.tensor(
        [t for t in occurring.tolist() if t not in special and result.decode(t).strip()]
    )

    def texts(weights: Float[Tensor, " d_vocab"]) -> list[str]:
        return [token.text for token in take_top(weights, shown, TOKENS, tokenizer)]

    return [(texts(column), texts(-column)) for column in changes.unbind(1)]


def _find_near(
    result: LanguageResult, places: Sequence[_Place], scores: Float[Tensor, "n k"]
) -> list[list[Near]]:
    """The nearest directions of every page's, among all of the kernels that have pages."""
    names: list[_Place] = []
    columns = []
    for method in dict.fromkeys(place.method for place in places):
        found, where = over_layers(result.eigen(method))
        columns.append(found.cpu().double())
        names += [_Place(method, place) for place in where]
    everything = torch.nn.functional.normalize(torch.cat(columns, 1), dim=0)
    cosines = torch.nn.functional.normalize(scores.double(), dim=0).T @ everything
    there = set(places)
    near = []
    for place, row in zip(places, cosines.abs(), strict=True):
        order = [i for i in row.argsort(descending=True).tolist() if names[i] != place]
        near.append(
            [
                Near(names[i].name, f"#{names[i].id}" if names[i] in there else "", float(row[i]))
                for i in order[:NEIGHBORS]
            ]
        )
    return near


def _in_test_half(result: LanguageResult) -> Bool[Tensor, " n"]:
    found = torch.zeros(len(result.data.windows), dtype=torch.bool)
    found[torch.as_tensor(halves(result.data.features, seed=result.settings.seed)[1])] = True
    return found


def _page(
    result: LanguageResult,
    place: _Place,
    look: _Look,
    tokens: tuple[list[str], list[str]],
    near: list[Near],
) -> DirectionPage:
    windows = result.data.windows
    best = max(look.rows, key=lambda row: row.ap.value, default=None)
    sign = 1 if best is None else best.sign
    groups, data = window_groups(look.scores, look.parts, windows, sign)
    labels = ", ".join(row.feature for row in look.rows)
    notes = [
        f"Best direction of {place.method} for {row.feature}: AP {interval(row.ap)} on the test "
        f"half, base rate {row.positives / result.judged.tables[place.method].n_test:.2f}, AUROC "
        f"{row.auroc.value:.2f}, p {row.p_value:.2g}; the label is at the "
        f"{'high' if row.sign > 0 else 'low'} end."
        for row in look.rows
    ]
    chart = plot.windows(
        look.scores[:, None],
        0,
        windows,
        title="Scores by tag of the next word",
        interactive=True,
        width="container",
    )
    row: Cells = [
        best.ap if best else None,
        labels,
        " ".join(tokens[0][:5]),
        " ".join(tokens[1][:5]),
        float(dict(look.facts)["of the first"]),
    ]
    return DirectionPage(
        place.id,
        place.name,
        f"{place.name}: {labels}" if labels else place.name,
        look.facts,
        notes or ["No label chose it."],
        Picture(f"scores_{slug(place.name)}", f"Scores of {place.name}.", chart, kept=False),
        *tokens,
        near,
        groups,
        data,
        data["scale"] > 0,
        look.why_not,
        row,
    )
