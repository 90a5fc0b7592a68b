"""The report on the modular-addition MLP: which figures and tables, and the words around them."""

from __future__ import annotations

from pathlib import Path

from tl_entk.dynamics.course import Course
from tl_entk.experiments.modular_mlp.analysis import CLIFFS, FULL_SECOND, SUM, MLPResult
from tl_entk.report.page import write_report
from tl_entk.report.parts import Section
from tl_entk.report.toys.answers import answer_mlp
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
from tl_entk.report.toys.mlp_cliffs import (
    Seeds,
    cliff_table,
    cliff_width,
    collapse_pictures,
    eigenvalue_picture,
    overlap_bound,
    overlap_table,
    rotation_heatmaps,
    spectra_picture,
)
from tl_entk.report.toys.rotations import rotation_bars, rotation_table
from tl_entk.report.toys.wording import format_epoch, format_overlap, join_numbers


def mlp_sections(seeds: Seeds) -> list[Section]:
    """Spectra, overlaps, rotations and linearization; the first seed is drawn."""
    result, course = next(iter(seeds.values()))
    return [
        _spectra_section(seeds),
        Section(
            "MLP: overlap with the families",
            f"Overlap of each cliff's span with a family's, of at most {overlap_bound(result)}.",
            [overlap_table(seeds)],
        ),
        *_rotation_sections(result),
        _course_section(result, course),
        *_fit_sections(result),
    ]


def _spectra_section(seeds: Seeds) -> Section:
    result, _ = next(iter(seeds.values()))
    cliff = cliff_width(result)
    return Section(
        "MLP: spectra",
        f"The class-trace kernel of all p² pairs. Expected: one mode for the mean, then two "
        f"cliffs of 4 floor(p / 2) = {cliff}: a cosine and a sine of every frequency of a and "
        "b, then of a + b and a - b; the first in layer 1's kernel and there before training, "
        "the second to appear with grokking. In figures modes are counted from 1, so that a "
        f"cliff after {1 + cliff} lies behind mode {1 + cliff}; in names of modes "
        f"(1..{cliff}, {1 + cliff}..{2 * cliff}) from 0, the mean.",
        [spectra_picture(result), *collapse_pictures(result), cliff_table(seeds)],
    )


def _rotation_sections(result: MLPResult) -> list[Section]:
    return [
        Section(
            "MLP: rotation by smoothness",
            "Within a cliff eigenvalues nearly coincide, so its directions are mixtures. Rotating "
            "them so that they are smooth along the torus of inputs sets them apart. Color: share "
            "of a direction's squared norm on one (family, frequency). The paper takes two "
            "Laplacians, the second inside the smoother half under the first. The difference of "
            "the two is ours: directions of other families that leak into a cliff are as rough "
            "along both and cancel, where the smoothest waves were taken for them.",
            [rotation_heatmaps(result, name) for name in CLIFFS],
        ),
        Section(
            "MLP: rotations that know no task",
            "Footnote 7 of the paper asks for a rotation without the torus. Here the graph comes "
            "from the kernel itself: neighbors are examples whose rows look alike. Not to be "
            "expected are the frequencies, where a cliff holds them all: it then spans all "
            "functions of a (and of b), renumbering the residues leaves that span as it is and "
            "mixes the frequencies, and nothing in it singles out the Fourier basis. The families "
            "can be found, in another basis, such as that of single residues: the last columns.",
            [rotation_bars("mlp", result.purities), rotation_table("mlp", result.purities)],
        ),
    ]


def _course_section(result: MLPResult, course: Course) -> Section:
    return Section(
        "MLP: dynamics",
        "Accuracy, overlap and its derivative through training; dotted lines: onset of "
        f"grokking, and the derivative's peak.\n\n{ONSET_RULE}",
        [
            course_picture(
                "mlp_course", "The MLP's course.", course, SUM, until=_shown_until(course)
            ),
            eigenvalue_picture(course, cliff_width(result)),
        ],
    )


def _fit_sections(result: MLPResult) -> list[Section]:
    if not result.fits:
        return []
    return [
        Section(
            "MLP: does the linearization hold?",
            "Kernel ridge regression with the flattened eNTK of both layers, fitted on the "
            "training part with a ridge of 0.01 times the kernel's mean diagonal. R² compares "
            "its predictions with the model's outputs; the loss is the mean squared error, "
            "over the model's own.",
            fit_parts("mlp", {"MLP": result.fits}),
        ),
    ]


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


def _shown_until(course: Course) -> float:
    """Past the onset there is little to see."""
    found = timing(course, SUM)
    last = float(course.steps[-1])
    return min(last, 3.0 * (found.midpoint or last))


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
    second, most = result.overlaps[FULL_SECOND], overlap_bound(result)
    return write_report(
        out,
        "Modular addition by an MLP: features from its eNTK",
        f"f(x) = W2 (W1 x)² on (a + b) mod {settings['p']}, {settings['n']} hidden units; method "
        f"of arXiv 2510.00468. Seeds {join_numbers(seeds)}; the first is drawn.",
        [
            ("test accuracy", f"{float(course.metrics['test_accuracy'][-1]):.1%}"),
            ("second cliff on a + b", format_overlap(second["a+b"], most)),
            ("second cliff on a - b", format_overlap(second["a-b"], most)),
            ("onset of grokking", format_epoch(found.onset)),
            ("derivative's peak", format_epoch(found.peak)),
        ],
        [*mlp_sections(seeds), mlp_dynamics_section(seeds)],
        answer=answer_mlp(seeds),
    )
