"""The report of ``tl-entk paper``: every setting, and the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tl_entk.course import Course
from tl_entk.experiments.modular_dynamics import SUM as TRANSFORMER_SUM
from tl_entk.experiments.modular_mlp import (
    FULL,
    FULL_FIRST,
    FULL_SECOND,
    LAYER_1,
    LAYER_1_FIRST,
    MLPResult,
)
from tl_entk.experiments.modular_mlp import SUM as MLP_SUM
from tl_entk.experiments.modular_transformer import headline
from tl_entk.experiments.paper import SHOWN, PaperResult
from tl_entk.experiments.rotations import DIFFERENCE, NESTED
from tl_entk.report.dynamics import (
    ONSET_RULE,
    Timing,
    cost_table,
    timing,
    timing_picture,
    timing_rows,
    timing_table,
)
from tl_entk.report.fits import fit_parts
from tl_entk.report.mlp import mlp_sections
from tl_entk.report.modular import transformer_sections
from tl_entk.report.page import Section, Table, write_page
from tl_entk.report.superposition import superposition_sections

PAPER = "arXiv 2510.00468"
AUTHOR = "its author's run"
OTHER = "a rewrite of it"
Row = list[str | float | int]


def write_paper(result: PaperResult, out: Path, seconds: float | None = None) -> Path:
    """Report, figures and tables of everything.

    Args:
        result: of ``run_paper``.
        out: folder; made if missing.
        seconds: that the run took, if all of it was done anew.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    page = out / "report.html"
    mlp = result.mlp[0][0]
    found = headline(result.shown)
    figures = [
        *[
            (f"superposition, {r.name}: last cliff", str(c.position if (c := r.cliff()) else "-"))
            for r in result.superposition[0]
        ],
        ("MLP, second cliff on a + b", _of(mlp.overlaps[FULL_SECOND]["a+b"], _most(mlp))),
        (
            "Transformer, W_U on a + b",
            _of(found["W_U_modes_0_to_2F_on_a+b"], found["most_possible"]),
        ),
    ]
    if seconds is not None:
        figures.append(("the whole run", f"{seconds / 60:.1f} min"))
    write_page(
        page,
        "Feature identification via the empirical NTK: the paper's settings, run here",
        f"Every setting of {PAPER} that is no language model (for that: tl-entk language). Seeds "
        f"{', '.join(map(str, result.mlp))}; the figures show seed 0, and seed {SHOWN} of the "
        "Transformer.",
        figures,
        [
            Section(
                "The paper's figures and ours",
                "The author's numbers are those of the paper, of its author's research code, or, "
                "where it says so, of an independent rewrite of it. Ours are of this run.",
                [Table("paper_and_ours", "", _COLUMNS, paper_rows(result))],
            ),
            *superposition_sections(result.superposition),
            *mlp_sections(result.mlp),
            _narrow(result),
            *transformer_sections(result.shown),
            *_transformer_fits(result),
            _dynamics(result),
        ],
    )
    return page


_COLUMNS = ("setting", "figure", "paper's", "source", "ours", "seed")


def paper_rows(result: PaperResult) -> list[Row]:
    """The table "paper's figure / ours"."""
    return [
        *_superposition_rows(result),
        *_linearisation_rows(result),
        *_mlp_rows(result),
        *_transformer_rows(result),
    ]


def _of(value: float, most: float) -> str:
    return f"{value:.2f} of {most:g}"


def _most(result: MLPResult) -> int:
    return 2 * (result.settings["p"] // 2)


def _superposition_rows(result: PaperResult) -> list[Row]:
    rows: list[Row] = []
    firsts, ratios, diagonals = ("10", "30", "43 to 50"), (23.6, 2.6, 2.3), (10, 20, 43)
    picked = ("50, 0.98", "44, 0.94", "39, 0.92")
    for index, toy in enumerate(result.superposition[0]):
        name = f"superposition, {toy.name}"
        last, first = toy.cliff(), toy.first_cliff()
        assert last is not None
        assert first is not None
        distinct, mean = toy.picked("0.3")
        rows += [
            [name, "last cliff after mode", "50", PAPER, str(last.position), 0],
            [name, "its ratio", ratios[index], OTHER, last.ratio, 0],
            [name, "first cliff after mode", firsts[index], OTHER, first.position, 0],
            [
                name,
                "diagonal of W^T W above 0.75",
                diagonals[index],
                OTHER,
                toy.represented,
                0,
            ],
            [
                name,
                "beta = 0.3: distinct features, mean largest entry",
                picked[index],
                OTHER,
                f"{distinct}, {mean:.2f}",
                0,
            ],
        ]
    return rows


def _linearisation_rows(result: PaperResult) -> list[Row]:
    """The author's check (n = 10, m = 5, S = 0.9, 100 samples, ridge 5e-4), over the seeds."""
    rows: list[Row] = []
    figures = (("model", "r2", 0.994), ("model", "loss_ratio", 0.57))
    for around, key, theirs in (*figures, ("zero", "r2", 0.9996), ("zero", "loss_ratio", 0.85)):
        found = [
            row[key]
            for toy in result.author.values()
            for row in toy.fits
            if (row["model"], row["around"]) == ("trained", around)
        ]
        what = "R²" if key == "r2" else "loss ratio"
        ours = f"{found[0]:.4f} ({min(found):.4f} to {max(found):.4f})"
        name = "linearisation, n = 10, m = 5"
        rows.append([name, f"{what} around {around}", theirs, AUTHOR, ours, "0 (all)"])
    return rows


def _purity(result: MLPResult, cliff: str, rotation: str) -> dict[str, Any]:
    return next(
        row for row in result.purities if (row["cliff"], row["rotation"]) == (cliff, rotation)
    )


def _mlp_rows(result: PaperResult) -> list[Row]:
    mlp, course = result.mlp[0]
    most = _most(mlp)
    second, first = mlp.overlaps[FULL_SECOND], mlp.overlaps[FULL_FIRST]
    full = ", ".join(f"{c.position} ({c.ratio:.1f}x)" for c in mlp.cliffs(FULL))
    layer = mlp.cliffs(LAYER_1)[0]
    before = mlp.cliffs(LAYER_1, start=True)[0]
    nested, better = (_purity(mlp, FULL_FIRST, name) for name in (NESTED, DIFFERENCE))
    layer_1 = _purity(mlp, LAYER_1_FIRST, NESTED)
    latter = [_purity(mlp, FULL_SECOND, name)["mean"] for name in (NESTED, DIFFERENCE)]
    found = timing(course, MLP_SUM)
    name = "MLP"
    return [
        [name, "modes 57..112 on a + b", _of(26.47, 28), AUTHOR, _of(second["a+b"], most), 0],
        [name, "modes 57..112 on a - b", _of(25.21, 28), AUTHOR, _of(second["a-b"], most), 0],
        [name, "modes 1..56 on a", _of(27.56, 28), OTHER, _of(first["a"], most), 0],
        [name, "modes 1..56 on b", _of(27.55, 28), OTHER, _of(first["b"], most), 0],
        [name, "both layers: drops after", "1, 57 (2.1x), 113 (1.3x)", OTHER, full, 0],
        [
            name,
            "layer 1: largest drop after (before training)",
            "57, 12x",
            OTHER,
            f"{layer.position}, {layer.ratio:.1f}x ({before.position}, {before.ratio:.1f}x)",
            0,
        ],
        [
            name,
            "layer 1, first cliff rotated: least share on one wave",
            "0.996",
            OTHER,
            layer_1["least"],
            0,
        ],
        [
            name,
            "both layers, first cliff rotated: directions at 0.9 or more, mean",
            "45 of 56, 0.94",
            OTHER,
            f"{nested['pure']}, {nested['mean']:.2f}; by the difference {better['pure']}, "
            f"{better['mean']:.2f}",
            0,
        ],
        [
            name,
            "both layers, second cliff rotated: mean share",
            "0.84",
            OTHER,
            f"{latter[0]:.2f}; by the difference {latter[1]:.2f}",
            0,
        ],
        [
            name,
            "derivative's peak; onset of grokking (epochs)",
            "near the onset, 75 to 100",
            PAPER,
            f"{found.peak}; {found.onset}",
            0,
        ],
    ]


def _transformer_rows(result: PaperResult) -> list[Row]:
    found = headline(result.shown)
    most, f = found["most_possible"], result.shown.n_frequencies
    w_in = next(r for r in result.shown.overlaps if r.component == "blocks.0.mlp.W_in")
    course = result.transformer[SHOWN][1]
    when = timing(course, TRANSFORMER_SUM)
    name = "Transformer"
    keys = ", ".join(map(str, result.shown.weight_frequencies))
    return [
        [name, "key frequencies", "2 of them", AUTHOR, f"{f}: {keys}", SHOWN],
        [
            name,
            "W_U, modes 0..2F on a + b",
            "3.96 of 4",
            AUTHOR,
            _of(found["W_U_modes_0_to_2F_on_a+b"], most),
            SHOWN,
        ],
        [
            name,
            "W_U, modes 2F+1..4F on axis sums",
            "3.94 of 4",
            AUTHOR,
            _of(found["W_U_modes_2F+1_to_4F_on_axis_sum"], most),
            SHOWN,
        ],
        [
            name,
            "W_in, modes 0..2F on axis sums",
            "5.59 of 6",
            OTHER,
            _of(w_in.first["axis sum"], most),
            SHOWN,
        ],
        [
            name,
            "derivative's peak; onset of grokking (epochs)",
            "near 150, where test accuracy starts to rise",
            OTHER,
            f"{when.peak}; {when.onset}",
            SHOWN,
        ],
    ]


def _narrow(result: PaperResult) -> Section:
    narrow, course = result.narrow
    found = timing(course, MLP_SUM)
    rows: list[Row] = [[cliff, *overlaps.values()] for cliff, overlaps in narrow.overlaps.items()]
    drops = ", ".join(f"{c.position} ({c.ratio:.1f}x)" for c in narrow.cliffs(FULL))
    return Section(
        "MLP: a narrow one",
        f"n = {narrow.settings['n']} hidden units, seed {narrow.settings['seed']}: test accuracy "
        f"{float(course.metrics['test_accuracy'][-1]):.1%}, drops of both layers' kernel after "
        f"{drops}; derivative's peak at epoch {found.peak}, onset "
        f"{'none' if found.onset is None else f'at epoch {found.onset}'}.",
        [
            Table(
                "mlp_narrow_overlaps",
                f"Overlap of each cliff's modes, of at most {_most(narrow)}.",
                ("cliff", *next(iter(narrow.overlaps.values()))),
                rows,
            )
        ],
    )


def _transformer_fits(result: PaperResult) -> list[Section]:
    fits = result.transformer[SHOWN][0].fits
    if not fits:
        return []
    return [
        Section(
            "Transformer: does the linearisation hold?",
            "Kernel ridge regression with the flattened eNTK of all weights, fitted on the "
            "training part with a ridge of 0.1 times the kernel's mean diagonal. Its targets are "
            "the labels in units of the trained model's logits (the mean logit of the right class, "
            "and of the others), since cross-entropy has no closed form; the loss is the "
            "cross-entropy, over the model's own.",
            fit_parts("transformer", {f"Transformer, seed {SHOWN}": fits}),
        )
    ]


def _dynamics(result: PaperResult) -> Section:
    mlps = {seed: course for seed, (_, course) in result.mlp.items()}
    transformers = {seed: course for seed, (_, course) in result.transformer.items()}
    experiments: Mapping[str, tuple[Mapping[int, Course], str]] = {
        "MLP": (mlps, MLP_SUM),
        "Transformer": (transformers, TRANSFORMER_SUM),
    }
    timings: dict[str, dict[int, Timing]] = {
        name: {seed: timing(course, overlap) for seed, course in courses.items()}
        for name, (courses, overlap) in experiments.items()
    }
    rows = [
        row
        for name, (courses, overlap) in experiments.items()
        for row in timing_rows(courses, overlap, name)
    ]
    costs = {
        f"MLP, seed {seed}": (
            course,
            found.seconds["training and tracking"] - course.tracking_seconds,
        )
        for seed, (found, course) in result.mlp.items()
    }
    costs |= {
        f"Transformer, seed {seed}": (course, record.found["seconds"]["training"])
        for seed, (record, course) in result.transformer.items()
        if not record.found["model_reused"]
    }
    return Section(
        "Does the derivative's peak foretell grokking?",
        f"{ONSET_RULE} MLP: both layers' second cliff on a + b. Transformer: W_U, modes 0..2F on "
        f"a + b at the final key frequencies.\n\n{verdict(timings)}",
        [timing_picture(timings), timing_table(rows), cost_table(costs)],
    )


def verdict(timings: Mapping[str, Mapping[int, Timing]]) -> str:
    """How often the peak precedes, matches and follows the onset, in words."""
    sentences: list[str] = []
    for name, found in timings.items():
        words: Sequence[str] = [t.relation for t in found.values() if t.relation]
        counts = ", ".join(
            f"{word} it in {words.count(word)}" for word in ("precedes", "matches", "follows")
        )
        none = len(found) - len(words)
        tail = f"; {none} did not grok" if none else ""
        sentences.append(f"{name}: of {len(found)} seeds the peak {counts}{tail}.")
    return " ".join(sentences)
