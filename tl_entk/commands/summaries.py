"""What a command prints of its result: a table, and the answer in a sentence.

Apart from the commands, since results bring torch and scikit-learn.
"""

from __future__ import annotations

from rich.table import Table

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.names import PCA
from tl_entk.commands.console import console
from tl_entk.dynamics.course import Course
from tl_entk.experiments.board_game.settings import FAMILIES
from tl_entk.experiments.board_game.verdict import BoardSeeds, figure_over_seeds, figures_of_roles
from tl_entk.experiments.induction.analysis import InductionResult
from tl_entk.experiments.induction.comparison import (
    PLAIN_METHODS,
    correlations_over_seeds,
    leading,
)
from tl_entk.experiments.induction.head_scores import PREFIX, PREVIOUS
from tl_entk.experiments.language.causal.summary import statements
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.experiments.language.verdict import verdicts
from tl_entk.experiments.modular_mlp.analysis import FULL_SECOND, SUM, MLPResult
from tl_entk.experiments.modular_transformer.analysis import (
    UNEMBED,
    ModularResult,
    headline,
)
from tl_entk.experiments.paper import PaperResult
from tl_entk.experiments.structured_superposition.methods import METHODS
from tl_entk.experiments.structured_superposition.over_seeds import (
    StructureSeeds,
    overall_cosine,
)
from tl_entk.experiments.superposition.analysis import SuperpositionResult
from tl_entk.report.toys.dynamics import timing
from tl_entk.report.toys.paper_table import paper_table
from tl_entk.report.toys.structure_tables import (
    GROUNDS,
    drop_table,
    format_mean,
)
from tl_entk.report.toys.wording import NONE, format_cliff


def show_language(result: LanguageResult) -> None:
    """What every method reaches, what holds, and how long the parts took."""
    console.print(result.data.windows.report())
    console.print(
        f"labels by {result.data.pipeline}: {len(result.data.features)} kept, "
        f"{len(result.data.dropped)} dropped"
    )
    others = dict.fromkeys([PCA, result.judged.strongest_baseline])
    columns = [f"AP less {other}" for other in others]
    table = Table("best direction over layers", "AP", "AUROC", *columns, box=None)
    for name, found in result.judged.tables.items():
        ap, auroc = found.macro(), found.macro("auroc")
        differences = {other: found.difference(result.judged.tables[other]) for other in others}
        table.add_row(
            name,
            f"{ap.value:.3f} ({ap.low:.3f} to {ap.high:.3f})",
            f"{auroc.value:.3f}",
            *[
                "" if name == other else f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f})"
                for other, less in differences.items()
            ],
        )
    console.print(table)
    for sentence in [*verdicts(result), *(statements(result.causal) if result.causal else [])]:
        console.print(sentence)
    console.print(", ".join(f"{part} {value:.0f} s" for part, value in result.seconds.items()))


def show_transformer(result: ModularResult) -> None:
    """Headline figures of the modular-addition Transformer."""
    found, most = headline(result), 2 * result.n_frequencies
    table = Table(show_header=False, box=None)
    rows = {
        "model": "reused"
        if found["model_reused"]
        else f"trained in {result.seconds['training']:.0f} s",
        "test accuracy": f"{found['test_accuracy']:.1%}",
        "key frequencies from W_E": str(result.weight_frequencies),
        "key frequencies from the kernel": str(result.kernel_frequencies),
        f"{UNEMBED}, modes 0..2F on a+b": f"{found['W_U_modes_0_to_2F_on_a+b']:.2f} of {most}",
        f"{UNEMBED}, modes 2F+1..4F on axis sum": (
            f"{found['W_U_modes_2F+1_to_4F_on_axis_sum']:.2f} of {most}"
        ),
        "kernel blocks": f"{len(result.blocks)} in {result.seconds['blocks']:.2f} s",
    }
    for label, value in rows.items():
        table.add_row(label, value)
    console.print(table)


def show_superposition(found: dict[int, list[SuperpositionResult]]) -> None:
    """Where the spectra drop."""
    table = Table("regime", "seed", "last cliff", "first cliff", "W^T W > 0.75", box=None)
    for seed, results in found.items():
        for result in results:
            cliffs = (result.cliff(), result.first_cliff())
            places = map(format_cliff, cliffs)
            table.add_row(result.name, str(seed), *places, str(result.represented))
    console.print(table)


def show_structures(found: StructureSeeds) -> None:
    """The largest drops of the spectra, and what every method reaches over all structures."""
    drops = drop_table(found)
    table = Table(*drops.columns, box=None)
    for row in drops.rows:
        table.add_row(*map(str, row))
    console.print(table)
    table = Table("mean best |cos|", *GROUNDS.values(), box=None)
    for method in METHODS:
        cells = [format_mean(overall_cosine(found, method, ground)) for ground in GROUNDS]
        table.add_row(method, *cells)
    console.print(table)


def show_mlp(found: dict[int, tuple[MLPResult, Course]]) -> None:
    """What the second cliff holds, and when."""
    table = Table("seed", "test accuracy", "on a+b", "on a-b", "peak", "onset", box=None)
    for seed, (result, course) in found.items():
        when, second = timing(course, SUM), result.overlaps[FULL_SECOND]
        table.add_row(
            str(seed),
            f"{float(course.metrics['test_accuracy'][-1]):.1%}",
            f"{second['a+b']:.2f}",
            f"{second['a-b']:.2f}",
            NONE if when.peak is None else str(when.peak),
            NONE if when.onset is None else str(when.onset),
        )
    console.print(table)


def show_induction(found: dict[int, InductionResult]) -> None:
    """The leading heads' shares, and what ranks heads as the known scores do."""
    columns = ("seed", "loss", "induction head", "its share", "previous-token head", "its share")
    table = Table(*columns, box=None)
    for seed, result in found.items():
        cells = [f"{result.losses['repeated'][-1]:.3f}"]
        for one in (leading(result, PREFIX), leading(result, PREVIOUS)):
            cells += [f"{one.head} ({one.score:.2f})", f"{one.share:.3f} (trace {one.trace:.3f})"]
        table.add_row(str(seed), *cells)
    console.print(table)
    scores = list(next(iter(found.values())).known)
    table = Table("rank correlation with", *scores, box=None)
    for method, row in correlations_over_seeds(found).items():
        if method not in scores:
            mark = " *" if method in PLAIN_METHODS else ""
            table.add_row(method + mark, *[f"{row[score].value:+.2f}" for score in scores])
    console.print(table)
    console.print("* a plain baseline; intervals over the seeds are in the report")


def show_board_game(seeds: BoardSeeds) -> None:
    """AUROC of the best directions by family, over seeds."""
    table = Table("AUROC of the best direction", *FAMILIES, "mean", box=None)
    for name, of in figures_of_roles().items():
        families = [figure_over_seeds(seeds, of, family).value for family in FAMILIES]
        mean = _with_interval(figure_over_seeds(seeds, of, None))
        table.add_row(name, *[f"{value:.2f}" for value in families], mean)
    console.print(table)


def _with_interval(found: IntervalEstimate) -> str:
    """A figure; with its interval, where it has one."""
    if found.low != found.low:  # NaN, of a single seed
        return f"{found.value:.2f}"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def show_paper(result: PaperResult) -> None:
    """Figures of the paper beside ours."""
    table = Table("setting", "figure", "paper's", "ours", box=None)
    for setting, figure, theirs, ours, _, _ in paper_table(result).rows:
        table.add_row(str(setting), str(figure), str(theirs), str(ours))
    console.print(table)
