"""The report on the modular-addition MLP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tl_entk.dynamics.course import Course
from tl_entk.experiments.modular_mlp.analysis import (
    CLIFFS,
    FULL,
    FULL_SECOND,
    LAYER_1,
    LAYER_2,
    SUM,
    MLPResult,
)
from tl_entk.experiments.rotations import DIFFERENCE, NESTED, NONE
from tl_entk.report.page import Picture, Section, Table, write_page
from tl_entk.report.toys import figures as draw
from tl_entk.report.toys.dynamics import (
    ONSET_RULE,
    cost_table,
    course_picture,
    timing,
    timing_pictures,
    timing_rows,
    timing_table,
)
from tl_entk.report.toys.linear_fits import fit_parts
from tl_entk.report.toys.rotations import rotation_bars, rotation_table

Seeds = Mapping[int, tuple[MLPResult, Course]]


def mlp_sections(seeds: Seeds) -> list[Section]:
    """Spectra, overlaps, rotations and linearization; the first seed is drawn."""
    result, course = next(iter(seeds.values()))
    cliff = _cliff(result)
    most = cliff // 2
    sections = [
        Section(
            "MLP: spectra",
            f"The class-trace kernel of all p² pairs. Expected: one mode for the mean, then two "
            f"cliffs of 4 floor(p / 2) = {cliff}: a cosine and a sine of every frequency of a and "
            "b, then of a + b and a - b; the first in layer 1's kernel and there before training, "
            "the second to appear with grokking. In figures modes are counted from 1, so that a "
            f"cliff after {1 + cliff} lies behind mode {1 + cliff}; in names of modes "
            f"({1}..{cliff}, {1 + cliff}..{2 * cliff}) from 0, the mean.",
            [_spectra(result), *_collapses(result), _cliff_table(seeds)],
        ),
        Section(
            "MLP: overlap with the families",
            f"Overlap of each cliff's span with a family's, of at most {most}.",
            [_overlap_table(seeds)],
        ),
        Section(
            "MLP: rotation by smoothness",
            "Within a cliff eigenvalues nearly coincide, so its directions are mixtures. Rotating "
            "them so that they are smooth along the torus of inputs sets them apart. Colour: share "
            "of a direction's squared norm on one (family, frequency). The paper takes two "
            "Laplacians, the second inside the smoother half under the first. The difference of "
            "the two is ours: directions of other families that leak into a cliff are as rough "
            "along both and cancel, where the smoothest waves were taken for them.",
            [_heatmaps(result, name) for name in CLIFFS],
        ),
        Section(
            "MLP: rotations that know no task",
            "Footnote 7 of the paper asks for a rotation without the torus. Here the graph comes "
            "from the kernel itself: neighbours are examples whose rows look alike. Not to be "
            "expected are the frequencies, where a cliff holds them all: it then spans all "
            "functions of a (and of b), renumbering the residues leaves that span as it is and "
            "mixes the frequencies, and nothing in it singles out the Fourier basis. The families "
            "can be found, in another basis, such as that of single residues: the last columns.",
            [rotation_bars("mlp", result.purities), rotation_table("mlp", result.purities)],
        ),
        Section(
            "MLP: dynamics",
            "Accuracy, overlap and its derivative through training; dashed: onset of grokking, "
            f"dotted: the derivative's peak.\n\n{ONSET_RULE}",
            [
                course_picture(
                    "mlp_course", "The MLP's course.", course, SUM, until=_shown_until(course)
                ),
                _eigenvalue_picture(course, cliff),
            ],
        ),
    ]
    if result.fits:
        sections.append(
            Section(
                "MLP: does the linearization hold?",
                "Kernel ridge regression with the flattened eNTK of both layers, fitted on the "
                "training part with a ridge of 0.01 times the kernel's mean diagonal. R² compares "
                "its predictions with the model's outputs; the loss is the mean squared error, "
                "over the model's own.",
                fit_parts("mlp", {"MLP": result.fits}),
            )
        )
    return sections


def mlp_dynamics_section(seeds: Seeds) -> Section:
    """Peak and onset over seeds, and what tracking costs."""
    courses = {seed: course for seed, (_, course) in seeds.items()}
    costs = {
        f"seed {seed}": (course, result.seconds["training and tracking"] - course.tracking_seconds)
        for seed, (result, course) in seeds.items()
    }
    return Section(
        "MLP: does the derivative's peak foretell grokking?",
        ONSET_RULE,
        [
            *timing_pictures({"MLP": {s: timing(c, SUM) for s, c in courses.items()}}),
            timing_table("mlp", timing_rows(courses, SUM, "MLP")),
            cost_table(costs),
        ],
    )


def _cliff(result: MLPResult) -> int:
    return 4 * (result.settings["p"] // 2)


def _spectra(result: MLPResult) -> Picture:
    names = {FULL: "both layers", LAYER_1: "layer 1", LAYER_2: "layer 2"}
    cliff = _cliff(result)
    spectra = {
        title: {label: found[name].numpy() for name, label in names.items()}
        for title, found in (
            ("before training", result.start),
            (f"after epoch {result.epochs[-1]}", result.eigenvalues),
        )
    }
    marks = {f"{1 + cliff}": 1 + cliff, f"{1 + 2 * cliff}": 1 + 2 * cliff}
    picture = draw.spectrum_panels(spectra, dict.fromkeys(spectra, marks), floor=1e-7)
    return Picture("mlp_spectra", "Leading eigenvalues of the class trace.", picture)


def _collapses(result: MLPResult) -> list[Picture]:
    others = {
        name: values.numpy()
        for name, values in result.eigenvalues.items()
        if name not in (FULL, LAYER_1, LAYER_2)
    }
    if not others:
        return []
    cliff, p = _cliff(result), result.settings["p"]
    spectra = {name: {name: values} for name, values in others.items()}
    marks = {
        name: {"p": p}
        if name == "flattened"
        else {str(1 + i * cliff): 1 + i * cliff for i in (1, 2)}
        for name in spectra
    }
    picture = draw.spectrum_panels(spectra, marks, floor=1e-7)
    caption = (
        "Other collapses of both layers' kernel: single classes, the mean of all classes, and all "
        "examples and outputs flattened."
    )
    return [Picture("mlp_collapses", caption, picture)]


def _cliff_table(seeds: Seeds) -> Table:
    rows: list[list[str | float | int]] = []
    for seed, (result, _) in seeds.items():
        for start in (True, False):
            for kernel in (FULL, LAYER_1, LAYER_2):
                cells: list[str | float | int] = []
                for cliff in result.cliffs(kernel, start=start):
                    cells += [cliff.position, cliff.ratio]
                rows.append([seed, "start" if start else "end", kernel, *cells])
    heads = [f"{head} {i}" for i in (1, 2, 3) for head in ("drop", "ratio")]
    return Table(
        "mlp_cliffs",
        "The three largest drops of each spectrum: after how many modes, and how large.",
        ("seed", "when", "kernel", *heads),
        rows,
    )


def _overlap_table(seeds: Seeds) -> Table:
    families = list(next(iter(next(iter(seeds.values()))[0].overlaps.values())))
    rows: list[list[str | float | int]] = [
        [seed, cliff, *[found[family] for family in families]]
        for seed, (result, _) in seeds.items()
        for cliff, found in result.overlaps.items()
    ]
    return Table(
        "mlp_overlaps", "Overlap of each cliff's modes.", ("seed", "cliff", *families), rows
    )


def _heatmaps(result: MLPResult, cliff: str) -> Picture:
    names = {NONE: "as found", NESTED: "two Laplacians", DIFFERENCE: "difference"}
    values = {
        (label, f"epoch {epoch}"): result.projections[f"{epoch}/{cliff}/{name}"].numpy()
        for name, label in names.items()
        for epoch in result.epochs
    }
    families = " | ".join(CLIFFS[cliff][2])
    half = len(result.groups[cliff]) // 2
    picture = draw.heatmap_grid(
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


def _shown_until(course: Course) -> float:
    """Past the onset there is little to see."""
    found = timing(course, SUM)
    last = float(course.steps[-1])
    return min(last, 3.0 * (found.midpoint or last))


def _eigenvalue_picture(course: Course, cliff: int) -> Picture:
    values = course.eigenvalues[FULL].numpy()
    steps = course.steps.numpy()
    groups = {"mean": [0], "first cliff": [1, cliff], "second cliff": [1 + cliff, 2 * cliff]}
    groups["after it"] = [1 + 2 * cliff]
    lines = {
        f"{name}: mode {mode + 1}": values[:, mode]
        for name, modes in groups.items()
        for mode in modes
        if mode < values.shape[1]
    }
    figure, axes = draw.panels(9.0, 3.4)
    for (label, y), colour in zip(lines.items(), draw.COLOURS, strict=False):
        axes[0, 0].plot(steps, y.clip(1e-12), label=label, lw=1.2, color=colour)
    axes[0, 0].set(xlabel="epoch", ylabel="eigenvalue", yscale="log")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = "Both layers' kernel: eigenvalues at the ends of the cliffs, by epoch."
    return Picture("mlp_eigenvalues", caption, figure)


def write_mlp(seeds: Seeds, out: Path) -> Path:
    """The report of ``tl-entk modular-mlp``.

    Args:
        seeds: seed to result and course.
        out: folder; made if missing.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    result, course = next(iter(seeds.values()))
    settings, found = result.settings, timing(course, SUM)
    second = result.overlaps[FULL_SECOND]
    most = _cliff(result) // 2
    page = out / "report.html"
    write_page(
        page,
        "Modular addition by an MLP: features from its eNTK",
        f"f(x) = W2 (W1 x)² on (a + b) mod {settings['p']}, {settings['n']} hidden units; method "
        f"of arXiv 2510.00468. Seeds {', '.join(map(str, seeds))}; the first is drawn.",
        [
            ("test accuracy", f"{float(course.metrics['test_accuracy'][-1]):.1%}"),
            ("second cliff on a + b", f"{second['a+b']:.2f} of {most}"),
            ("second cliff on a - b", f"{second['a-b']:.2f} of {most}"),
            ("onset of grokking", "none" if found.onset is None else f"epoch {found.onset}"),
            ("derivative's peak", f"epoch {found.peak}"),
        ],
        [*mlp_sections(seeds), mlp_dynamics_section(seeds)],
    )
    return page
