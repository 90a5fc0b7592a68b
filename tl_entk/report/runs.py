"""Several runs of the language command side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from feature_sets.errors import UserError
from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.report import charts
from tl_entk.report.page import write_report
from tl_entk.report.parts import Cells, Link, Picture, Section, Signed, Table, interval
from tl_entk.tools.files import read_kept, refuse_damaged

_WHAT = "result of tl-entk language"


class KeptRun(NamedTuple):
    """What a run's folder says of its result.

    Attributes:
        name: of the folder.
        folder: where it lies.
        summary: of its results.json.
    """

    name: str
    folder: Path
    summary: dict[str, Any]

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Method to its figures, best over layers."""
        return self.summary["headline"]["best over layers"]

    def figure(self, method: str) -> IntervalEstimate | None:
        """Macro average precision of a method; None if the run has not got it."""
        return IntervalEstimate(**self.methods[method]["ap"]) if method in self.methods else None

    @property
    def lead(self) -> tuple[str, str, IntervalEstimate]:
        """The best kernel, the strongest baseline, and the kernel less the baseline."""
        headline = self.summary["headline"]
        winner, strongest = headline["winner"], headline["strongest baseline"]
        return winner, strongest, IntervalEstimate(**self.methods[winner][f"less {strongest}, ap"])


def read_run(folder: Path) -> KeptRun:
    """A run's result.

    Raises:
        UserError: if the folder has none of the language command.
    """
    path = folder / "results.json"
    try:
        with refuse_damaged(path, _WHAT):
            found = KeptRun(folder.resolve().name, folder, read_kept(path, _WHAT))
            _ = found.lead
    except (OSError, UserError) as error:
        raise UserError(
            f"{folder} has no result of tl-entk language ({error}): pass folders of its runs, or "
            "one folder of any command."
        ) from error
    return found


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """A report of several runs side by side.

    Args:
        folders: of the runs, each once.
        out: folder of the report; made if missing.

    Returns:
        The path of report.html.

    Raises:
        UserError: for a folder given twice, or without a result of the language command.
        OSError: if the folder cannot be written to.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a folder is given twice: name each run once.")
    runs = [read_run(folder) for folder in folders]
    if len({run.name for run in runs}) < len(runs):
        runs = [run._replace(name=str(run.folder)) for run in runs]
    ahead = sum(run.lead[2].low > 0 for run in runs)
    behind = sum(run.lead[2].high < 0 for run in runs)
    answer = (
        f"the best kernel is ahead of the strongest baseline in {ahead} of {len(runs)} runs, "
        f"behind in {behind}; in {len(runs) - ahead - behind} the two cannot be told apart."
    )
    return write_report(
        out,
        f"{len(runs)} runs side by side",
        "Macro average precision of the best single direction over all layers, on the test half of "
        "each run; 95 % intervals. Runs of other windows or labels are not paired: compare a "
        "kernel with the baselines of its own run.",
        [(run.name, interval(run.lead[2], "+")) for run in runs],
        [_methods_section(runs), _settings_section(runs)],
        answer=answer,
        hero=[_lead_table(runs, out)],
    )


def _lead_table(runs: Sequence[KeptRun], out: Path) -> Table:
    """Each run's answer."""
    rows: list[Cells] = []
    for run in runs:
        winner, strongest, lead = run.lead
        report = os.path.relpath(run.folder / "report.html", out)
        figures = (run.figure(winner), run.figure(strongest))
        link = Link(run.name, Path(report).as_posix())
        rows.append([link, Signed(lead), winner, strongest, *figures])
    columns = (
        "run",
        "kernel less baseline",
        "best kernel",
        "strongest baseline",
        "kernel",
        "baseline",
    )
    return Table("runs", "Chosen within each run's train half.", columns, rows)


def _methods_section(runs: Sequence[KeptRun]) -> Section:
    methods = list(dict.fromkeys(method for run in runs for method in run.methods))
    shared = [method for method in methods if all(method in run.methods for run in runs)]
    rows = {
        method: {run.name: found for run in runs if (found := run.figure(method)) is not None}
        for method in shared or methods
    }
    chart = charts.intervals(rows, "Every method in every run", "macro average precision", "method")
    cells: list[Cells] = [[method, *[run.figure(method) for run in runs]] for method in methods]
    caption = "Macro average precision; empty where a run has not got the method."
    return Section(
        "Methods",
        "Methods that all runs have are drawn; the table has all.",
        [
            Picture("methods", "Macro average precision by method and run.", chart),
            Table("methods", caption, ("method", *[run.name for run in runs]), cells),
        ],
        question="Which method does well everywhere?",
    )


def _settings_section(runs: Sequence[KeptRun]) -> Section:
    names = dict.fromkeys(name for run in runs for name in run.summary["settings"])
    rows: list[Cells] = []
    for name in names:
        values = [str(run.summary["settings"].get(name, "")) for run in runs]
        if len(set(values)) > 1:
            rows.append([name, *values])
    return Section(
        "Settings",
        "What the runs differ in." if rows else "The runs have the same settings.",
        [Table("settings", "Settings that differ.", ("setting", *[run.name for run in runs]), rows)]
        if rows
        else [],
        question="What do the runs differ in?",
    )
