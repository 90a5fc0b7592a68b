"""Choose one candidate over the settings, and what the choice is worth where it was not made.

    python -m benchmarks.default_kernel.choose runs/default-kernel [--csv docs/results/...]

A candidate's lead in a setting is its figure less that of the strongest baseline, which is chosen
by the labels of the train half; layer and all of a candidate are fixed before any label is seen.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.default_kernel.judge import RULES, rule_layers
from benchmarks.default_kernel.kernels import ALL, EVERY, LATER, Candidate
from tl_entk.directions.default_kernel import DEFAULT_NORMALIZATION, DEFAULT_READOUT

# of a table in a file
MOST_ROWS = 100


@dataclass(frozen=True)
class Figure:
    """A figure, and the same on resamples of the examples."""

    value: float
    resampled: np.ndarray

    def __sub__(self, other: Figure) -> Figure:
        return Figure(self.value - other.value, self.resampled - other.resampled)

    def __str__(self) -> str:
        low, high = np.percentile(self.resampled, (2.5, 97.5))
        return f"{self.value:+.3f} ({low:+.3f} to {high:+.3f})"


@dataclass(frozen=True)
class Measured:
    """One setting: figures of every candidate under a rule, and of the baselines."""

    candidates: dict[Candidate, Figure]
    baselines: dict[str, Figure]
    strongest: str
    best_on_test: str
    about: dict[str, int]


def read(path: Path) -> Measured:
    """What ``measure`` wrote."""
    found = json.loads(path.read_text())
    with np.load(path.with_suffix(".npz")) as resampled:
        figures = {key: Figure(value, resampled[key]) for key, value in found["figures"].items()}
    rules = {*RULES, ALL, LATER}
    names = {key: json.loads(key) for key in figures}
    candidates = {
        Candidate(*name): figures[key]
        for key, name in names.items()
        if len(name) == len(Candidate._fields) and name[-1] in rules
    }
    baselines = {f"{name}, {layer}": figures[key] for name, layer, _, key in found["baselines"]}
    by_validation = {f"{name}, {layer}": value for name, layer, value, _ in found["baselines"]}
    return Measured(
        candidates,
        baselines,
        max(by_validation, key=lambda name: by_validation[name]),
        max(baselines, key=lambda name: baselines[name].value),
        found.get("about", {"version": 1, "k": 25}),
    )


# the kernel of tl_entk.default_directions
SHIPPED = Candidate(DEFAULT_READOUT, "W_out", EVERY, DEFAULT_NORMALIZATION, False, LATER)
BESIDE = [
    "setting", "figure", "strongest baseline", "its figure", "lead",
    "best baseline on the test half", "its figure", "lead",
]  # fmt: skip
LEFT_OUT = [
    "setting left out", *Candidate._fields, "lead there", "baseline chosen likewise", "less that",
]  # fmt: skip


def check_alike(settings: dict[str, Measured]) -> None:
    """Refuse files of other versions of the benchmark, or other numbers of directions."""
    versions = {name: (one.about["version"], one.about["k"]) for name, one in settings.items()}
    if len(set(versions.values())) > 1:
        raise SystemExit(f"measured by different versions, or with other k: {versions}")


def leads(measured: Measured) -> dict[Candidate, Figure]:
    """Every candidate's lead over the strongest baseline."""
    rival = measured.baselines[measured.strongest]
    return {one: figure - rival for one, figure in measured.candidates.items()}


def mean(figures: list[Figure]) -> Figure:
    """Mean over settings, whose resamples are independent of each other."""
    return Figure(
        float(np.mean([one.value for one in figures])),
        np.mean([one.resampled for one in figures], 0),
    )


def rank(settings: list[dict[Candidate, Figure]]) -> list[Candidate]:
    """Candidates that all settings have, best mean lead first."""
    common = set.intersection(*map(set, settings))
    return sorted(common, key=lambda one: -np.mean([found[one].value for found in settings]))


def beside_baselines(settings: dict[str, Measured], chosen: Candidate) -> list[list[str]]:
    """A candidate beside the strongest baseline of every setting, and the best in hindsight."""
    rows = []
    for name, measured in settings.items():
        own = measured.candidates[chosen]
        row = [name, f"{own.value:.3f}"]
        for rival in (measured.strongest, measured.best_on_test):
            other = measured.baselines[rival]
            row += [rival, f"{other.value:.3f}", str(own - other)]
        rows.append(row)
    return rows


def leave_out(
    settings: dict[str, Measured],
    found: dict[str, dict[Candidate, Figure]],
    group: Callable[[str], str],
) -> list[list[str]]:
    """For every setting, candidate and baseline chosen over the settings of the other groups."""
    rows = []
    for name in settings:
        others = [other for other in settings if group(other) != group(name)]
        if not others:
            continue
        chosen = rank([found[other] for other in others])[0]
        rival = best_baseline([by_rule(settings[other]) for other in others])
        less = settings[name].candidates[chosen] - by_rule(settings[name])[rival]
        rows.append([name, *chosen, str(found[name][chosen]), ", ".join(rival), str(less)])
    return rows


def fixed_baselines(settings: dict[str, Measured], best: Candidate) -> list[list[str]]:
    """Every baseline at a layer that is fixed before any label is seen, beside the default."""
    named = [by_rule(measured) for measured in settings.values()]
    rows = []
    for name in set.intersection(*map(set, named)):
        figures = [found[name] for found in named]
        pairs = zip(settings.values(), figures, strict=True)
        lead = mean([measured.candidates[best] - figure for measured, figure in pairs])
        rows.append(
            [*name, f"{mean(figures).value:.3f}", str(lead)]
            + [f"{figure.value:.3f}" for figure in figures]
        )
    return sorted(rows, key=lambda row: row[2], reverse=True)


def best_baseline(settings: list[dict[tuple[str, str], Figure]]) -> tuple[str, str]:
    """The baseline and rule with the best mean figure."""
    common = set.intersection(*map(set, settings))
    return max(common, key=lambda name: mean([found[name] for found in settings]).value)


def by_rule(measured: Measured) -> dict[tuple[str, str], Figure]:
    """Baseline and rule to figure; what is one for all layers keeps its name."""
    places = {key: tuple(key.rsplit(", ", 1)) for key in measured.baselines}
    numbers = [int(layer) for _, layer in places.values() if layer.isdigit()]
    rules = rule_layers(max(numbers) + 1)
    found = {}
    for key, (name, layer) in places.items():
        names = [rule for rule, number in rules.items() if number == layer]
        for rule in names or ([] if layer.isdigit() else [layer]):
            found[name, rule] = measured.baselines[key]
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path, help="folder for the tables")
    parser.add_argument("--show", type=int, default=20)
    arguments = parser.parse_args()
    settings = {path.stem: read(path) for path in sorted(arguments.folder.glob("*.json"))}
    check_alike(settings)
    found = {name: leads(measured) for name, measured in settings.items()}
    order = rank(list(found.values()))
    head = [*Candidate._fields, "mean lead", *settings]
    every = [
        [*one, str(mean([lead[one] for lead in found.values()]))]
        + [str(lead[one]) for lead in found.values()]
        for one in order
    ]
    tables = {
        "candidates": (head, every),
        "best": (BESIDE, beside_baselines(settings, order[0])),
        "default": (BESIDE, beside_baselines(settings, SHIPPED)),
        "fixed_baselines": (
            ["baseline", "layer", "mean figure", "the default's less that", *settings],
            fixed_baselines(settings, SHIPPED),
        ),
        "left_out": (LEFT_OUT, leave_out(settings, found, lambda name: name)),
        # settings of one model share text and windows
        "model_left_out": (LEFT_OUT, leave_out(settings, found, lambda name: name.split(",")[0])),
    }  # fmt: skip
    for name, (columns, rows) in tables.items():
        print(f"\n{name}: {len(rows)} rows\n" + " | ".join(columns))
        for row in rows[: arguments.show]:
            print(" | ".join(map(str, row)))
        if arguments.csv:
            arguments.csv.mkdir(parents=True, exist_ok=True)
            with (arguments.csv / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([columns, *rows[:MOST_ROWS]])


if __name__ == "__main__":
    main()
