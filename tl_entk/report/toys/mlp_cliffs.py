"""Figures and tables of the modular-addition MLP's cliffs: spectra, overlaps, rotations."""

from __future__ import annotations

from collections.abc import Mapping

from tl_entk.dynamics.course import Course
from tl_entk.experiments.modular_mlp.analysis import CLIFFS, FULL, LAYER_1, LAYER_2, MLPResult
from tl_entk.experiments.modular_mlp.model import MLPSettings
from tl_entk.experiments.rotations import DIFFERENCE, NESTED, NONE
from tl_entk.report.parts import Cells, Picture, Table
from tl_entk.report.toys.charts import spectrum_panels
from tl_entk.report.toys.matrices import matrix_panels
from tl_entk.report.toys.panels import Line, Panel, line_panels

Seeds = Mapping[int, tuple[MLPResult, Course]]

SHOWN_DROPS = 3
# below it eigenvalues are rounding
_LEAST = 1e-12


def cliff_width(result: MLPResult) -> int:
    """Modes of one cliff: a cosine and a sine of every frequency, for two families."""
    return MLPSettings(**result.settings).cliff


def overlap_bound(result: MLPResult) -> int:
    """The largest overlap of a cliff with one family."""
    return cliff_width(result) // 2


def spectra_picture(result: MLPResult) -> Picture:
    """Eigenvalues of both layers and of each, before and after training."""
    names = {FULL: "both layers", LAYER_1: "layer 1", LAYER_2: "layer 2"}
    cliff = cliff_width(result)
    spectra = {
        title: {label: found[name].numpy() for name, label in names.items()}
        for title, found in (
            ("before training", result.start),
            (f"after epoch {result.epochs[-1]}", result.eigenvalues),
        )
    }
    marks = {f"{1 + cliff}": 1 + cliff, f"{1 + 2 * cliff}": 1 + 2 * cliff}
    title = "Spectra of the class trace"
    picture = spectrum_panels(spectra, dict.fromkeys(spectra, marks), title)
    return Picture("mlp_spectra", "Leading eigenvalues of the class trace.", picture)


def collapse_pictures(result: MLPResult) -> list[Picture]:
    """Spectra of the other collapses; nothing where they were not asked for."""
    others = {
        name: values.numpy()
        for name, values in result.eigenvalues.items()
        if name not in (FULL, LAYER_1, LAYER_2)
    }
    if not others:
        return []
    cliff, p = cliff_width(result), result.settings["p"]
    spectra = {name: {name: values} for name, values in others.items()}
    marks = {
        name: {"p": p}
        if name == "flattened"
        else {str(1 + i * cliff): 1 + i * cliff for i in (1, 2)}
        for name in spectra
    }
    picture = spectrum_panels(spectra, marks, "Spectra of other collapses")
    caption = (
        "Other collapses of both layers' kernel: single classes, the mean of all classes, and all "
        "examples and outputs flattened."
    )
    return [Picture("mlp_collapses", caption, picture)]


def cliff_table(seeds: Seeds) -> Table:
    """The largest drops of every kernel's spectrum, before and after training."""
    rows: list[Cells] = []
    for seed, (result, _) in seeds.items():
        for start in (True, False):
            for kernel in (FULL, LAYER_1, LAYER_2):
                cells: Cells = []
                for cliff in result.cliffs(kernel, start=start):
                    cells += [cliff.position, cliff.ratio]
                cells += [""] * (2 * SHOWN_DROPS - len(cells))
                rows.append([seed, "start" if start else "end", kernel, *cells])
    heads = [f"{head} {i + 1}" for i in range(SHOWN_DROPS) for head in ("drop", "ratio")]
    return Table(
        "mlp_cliffs",
        "The three largest drops of each spectrum: after how many modes, and how large.",
        ("seed", "when", "kernel", *heads),
        rows,
    )


def overlap_table(seeds: Seeds) -> Table:
    """Overlap of every cliff with every family, by seed."""
    families = list(next(iter(next(iter(seeds.values()))[0].overlaps.values())))
    rows: list[Cells] = [
        [seed, cliff, *[found[family] for family in families]]
        for seed, (result, _) in seeds.items()
        for cliff, found in result.overlaps.items()
    ]
    return Table(
        "mlp_overlaps", "Overlap of each cliff's modes.", ("seed", "cliff", *families), rows
    )


def rotation_heatmaps(result: MLPResult, cliff: str) -> Picture:
    """A cliff's directions against frequencies, as found and rotated, at every kept epoch."""
    names = {NONE: "as found", NESTED: "two Laplacians", DIFFERENCE: "difference"}
    values = {
        (label, f"epoch {epoch}"): result.shares(epoch, cliff, name).numpy()
        for name, label in names.items()
        for epoch in result.epochs
    }
    families = " | ".join(CLIFFS[cliff][2])
    half = len(result.groups[cliff]) // 2
    picture = matrix_panels(
        values,
        label="share of squared norm",
        row_label="direction",
        column_label=f"frequency of {families}",
        cuts=(half,),
        ticks=dict.fromkeys(range(0, 2 * half), "")
        | {family * half + k - 1: str(k) for family in (0, 1) for k in (1, 1 + half // 2)},
    )
    name = cliff.replace(" ", "_").replace(",", "")
    return Picture(f"mlp_rotation_{name}", f"{cliff}: before and after rotation.", picture)


def eigenvalue_picture(course: Course, cliff: int) -> Picture:
    """Eigenvalues at the ends of the cliffs of this width, by epoch."""
    values = course.eigenvalues[FULL].numpy()
    steps = course.steps.numpy()
    groups = {"mean": [0], "first cliff": [1, cliff], "second cliff": [1 + cliff, 2 * cliff]}
    groups["after it"] = [1 + 2 * cliff]
    lines = {
        f"{name}: mode {mode + 1}": Line(steps, values[:, mode].clip(_LEAST))
        for name, modes in groups.items()
        for mode in modes
        if mode < values.shape[1]
    }
    title = "Eigenvalues at the ends of the cliffs"
    figure = line_panels({title: Panel(lines, "epoch", "eigenvalue", log=True)}, title)
    caption = "Both layers' kernel: eigenvalues at the ends of the cliffs, by epoch."
    return Picture("mlp_eigenvalues", caption, figure)
