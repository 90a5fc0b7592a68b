"""The report on toy models of superposition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tl_entk.experiments.superposition.analysis import SuperpositionResult
from tl_entk.report.page import write_report
from tl_entk.report.parts import Cells, Picture, Section, Table
from tl_entk.report.toys.answers import answer_superposition
from tl_entk.report.toys.charts import spectrum_panels
from tl_entk.report.toys.linear_fits import fit_parts
from tl_entk.report.toys.matrices import matrix_panels
from tl_entk.report.toys.panels import Line, Panel, line_panels
from tl_entk.report.toys.wording import format_cliff, join_numbers

Seeds = Mapping[int, Sequence[SuperpositionResult]]


def superposition_sections(seeds: Seeds) -> list[Section]:
    """Spectra, heatmaps, the sweep over beta, the linearization; the first seed is drawn.

    Args:
        seeds: seed to its regimes, the same regimes for every seed.
    """
    shown = next(iter(seeds.values()))
    return [
        _spectra_section(seeds),
        _feature_section(seeds),
        Section(
            "Superposition: what the weights hold",
            "W^T W: a diagonal entry near 1 is a represented feature, entries off the diagonal "
            "are interference.",
            [_draw_products(shown), _loss_table(seeds)],
        ),
        *_fit_sections(shown),
    ]


def _spectra_section(seeds: Seeds) -> Section:
    n = len(next(iter(seeds.values()))[0].products)
    return Section(
        "Superposition: spectra",
        "The flattened kernel of all examples and outputs, (N C) x (N C), decomposed through "
        f"J^T J. The paper's two cliffs: the last at the number of features, {n}; the first "
        "beside the number of features that the model represents, counted as the diagonal "
        "entries of W^T W above 0.75. First cliff: the largest relative drop of modes 9 to "
        f"{n - 1}; last cliff: the largest of modes {int(0.4 * n)} to {int(1.4 * n)}, which "
        f"may be the first one where that is larger than the drop after {n}. Gray: other "
        "seeds.",
        [_draw_spectra(seeds), _cliff_table(seeds)],
    )


def _feature_section(seeds: Seeds) -> Section:
    shown = next(iter(seeds.values()))
    return Section(
        "Superposition: which features the eigenvectors pick out",
        "|cos| of every top eigenvector with the expanded feature vectors (zero but at the "
        "feature's own output), each eigenvector's entries then scaled to norm 1. Rows of the "
        "Jacobian are multiplied by the importance I^(beta / 2): with beta = 0 eigenvalues of "
        "different features crowd together and eigenvectors mix them; a little importance "
        "sets them apart; with beta = 1 unimportant features fall below the rest of the "
        "spectrum.",
        [_draw_heatmaps(shown), _draw_sweep(shown), _picked_table(seeds)],
    )


def _fit_sections(shown: Sequence[SuperpositionResult]) -> list[Section]:
    fits = {result.name: result.fits for result in shown if result.fits}
    if not fits:
        return []
    return [
        Section(
            "Superposition: does the linearization hold?",
            "Kernel ridge regression with the flattened eNTK (ridge 5e-4), around the model "
            "and around zero, of all outputs alike, and with every output weighted by the "
            "root of its importance as in training. R² compares its predictions with the "
            "model's outputs; the loss is the mean squared error of those outputs, over the "
            "model's own. f is homogeneous in W (f = J (W/2, b)), so that the two coincide as "
            "the ridge goes to zero.",
            fit_parts("superposition", fits),
        )
    ]


def _draw_spectra(seeds: Seeds) -> Picture:
    first, *others = seeds.values()
    lines, marks, faint = {}, {}, {}
    for index, result in enumerate(first):
        cliff, last = result.first_cliff(), result.cliff()
        lines[result.name] = {"beta = 0": result.eigenvalues["0"].numpy()}
        marks[result.name] = {
            **({f"first cliff, {cliff.position}": cliff.position} if cliff else {}),
            **({f"last cliff, {last.position}": last.position} if last else {}),
            f"represented, {result.represented}": result.represented,
        }
        faint[result.name] = [other[index].eigenvalues["0"].numpy() for other in others]
    picture = spectrum_panels(lines, marks, "Spectra of the flattened kernel", faint=faint)
    return Picture("superposition_spectra", "Leading eigenvalues, relative to the first.", picture)


def _cliff_table(seeds: Seeds) -> Table:
    rows: list[Cells] = []
    n = len(next(iter(seeds.values()))[0].products)
    for seed, regimes in seeds.items():
        for result in regimes:
            first, last = result.first_cliff(), result.cliff()
            rows.append(
                [
                    result.name,
                    seed,
                    result.represented,
                    first.position if first else "",
                    first.ratio if first else "",
                    last.position if last else "",
                    last.ratio if last else "",
                    float(result.eigenvalues["0"][n - 1] / result.eigenvalues["0"][n]),
                ]
            )
    return Table(
        "superposition_cliffs",
        "Cliffs of the spectrum at beta = 0, and represented features.",
        (
            "regime",
            "seed",
            "W^T W > 0.75",
            "first cliff after",
            "ratio",
            "last cliff after",
            "ratio",
            f"ratio after {n}",
        ),
        sorted(rows, key=lambda row: (str(row[0]), row[1])),
    )


def _draw_heatmaps(shown: Sequence[SuperpositionResult]) -> Picture:
    betas = [beta for beta in ("0", "0.3", "1") if beta in shown[0].alignments]
    values = {
        (result.name, f"beta = {beta}"): result.alignments[beta].numpy()
        for result in shown
        for beta in betas or list(shown[0].alignments)[:3]
    }
    picture = matrix_panels(
        values, label="|cos|, scaled", row_label="eigenvector", column_label="feature"
    )
    return Picture("superposition_heatmaps", "Eigenvectors against features.", picture)


def _draw_sweep(shown: Sequence[SuperpositionResult]) -> Picture:
    betas = [float(beta) for beta in shown[0].eigenvalues]
    found = {r.name: [r.picked(beta) for beta in r.eigenvalues] for r in shown}
    n = len(shown[0].products)
    panels = {
        quantity: Panel(
            {name: Line(betas, [pair[i] for pair in pairs]) for name, pairs in found.items()},
            "importance exponent beta",
            quantity,
            limits=(0, 1.04 * most),
        )
        for i, (quantity, most) in enumerate(
            (("distinct features picked", n), ("mean largest entry", 1))
        )
    }
    picture = line_panels(panels, f"The top {n} eigenvectors, by beta", columns=2)
    caption = "How many features they pick out, and how clearly, as importance weighs more."
    return Picture("superposition_sweep", caption, picture)


def _picked_table(seeds: Seeds) -> Table:
    betas = [b for b in next(iter(seeds.values()))[0].eigenvalues if b in ("0", "0.3", "1")]
    rows: list[Cells] = []
    for seed, regimes in seeds.items():
        for result in regimes:
            pairs = [result.picked(b) if b in result.alignments else ("", "") for b in betas]
            rows.append([result.name, seed, *[cell for pair in pairs for cell in pair]])
    heads = [f"{head}, beta = {b}" for b in betas for head in ("distinct", "mean largest")]
    return Table(
        "superposition_picked",
        "Distinct features among the top eigenvectors' largest entries, and the mean of those.",
        ("regime", "seed", *heads),
        sorted(rows, key=lambda row: (str(row[0]), row[1])),
    )


def _draw_products(shown: Sequence[SuperpositionResult]) -> Picture:
    values = {("W^T W", result.name): result.products.abs().numpy() for result in shown}
    picture = matrix_panels(values, label="|entry|", row_label="feature", column_label="feature")
    return Picture("superposition_weights", "Absolute entries of W^T W.", picture)


def _loss_table(seeds: Seeds) -> Table:
    rows: list[Cells] = []
    for seed, regimes in seeds.items():
        for result in regimes:
            loss = result.loss
            before = f"{loss[-2]:.3e}" if len(loss) > 1 else ""
            rows.append([result.name, seed, f"{loss[0]:.2e}", before, f"{loss[-1]:.3e}"])
    return Table(
        "superposition_losses",
        "Importance-weighted loss at the start, a hundred steps before the end, and at the end.",
        ("regime", "seed", "start", "before the end", "end"),
        sorted(rows, key=lambda row: (str(row[0]), row[1])),
    )


def write_superposition(seeds: Seeds, out: Path) -> Path:
    """The report of ``tl-entk superposition``.

    Args:
        seeds: seed to its regimes.
        out: folder; made if missing.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    shown = next(iter(seeds.values()))
    figures = []
    for result in shown:
        figures.append((f"{result.name}: last cliff after", format_cliff(result.cliff())))
        figures.append((f"{result.name}: W^T W > 0.75", str(result.represented)))
    return write_report(
        out,
        "Toy models of superposition: features from the flattened eNTK",
        "f(x) = ReLU(W^T W x + b), method of arXiv 2510.00468, section 3. Seeds "
        f"{join_numbers(seeds)}; the first is drawn.",
        figures,
        superposition_sections(seeds),
        answer=answer_superposition(seeds),
    )
