"""Figures and tables of where features live, of the spectra, the windows and the run."""

from __future__ import annotations

from collections.abc import Mapping

from tl_entk import plot
from tl_entk.alignment.attribution import head_shares, layer_shares
from tl_entk.experiments.language.kernels import ALL_LOGITS
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.model.provenance import versions
from tl_entk.model.sites import partition
from tl_entk.report.parts import Cells, Picture, Table


def share_figures(result: LanguageResult, links: Mapping[str, str]) -> list[Picture]:
    """Labels against layers: shares, and how each label differs from the mean label."""
    by_layer = {
        name: layer_shares(shares, partition(shares))
        for name, shares in result.directions.shares.items()
    }
    captions = {
        "shares_less_mean": "Share of each layer less the mean over the labels: where a label "
        "lives more than others do. A click on a cell opens the label's direction.",
        "shares": "Share of each layer in each label's kernel energy.",
    }
    return [
        Picture(
            name,
            caption,
            plot.shares(
                by_layer,
                less_mean=name != "shares",
                links=links,
                title=title,
                interactive=True,
                width="container",
            ),
        )
        for (name, caption), title in zip(
            captions.items(),
            ("Where a label differs from the mean label", "Where every label lives"),
            strict=True,
        )
        if name == "shares" or len(by_layer) > 1
    ]


def head_figure(result: LanguageResult, links: Mapping[str, str]) -> Picture | None:
    """Labels against heads, less the mean label; None where there are no heads or one label."""
    heads = {name: head_shares(shares) for name, shares in result.directions.shares.items()}
    heads = {name: found for name, found in heads.items() if found}
    if len(heads) < 2:
        return None
    chart = plot.shares(
        heads,
        heads=True,
        less_mean=True,
        links=links,
        title="The heads of each label, less the mean label",
        interactive=True,
        width="container",
    )
    return Picture("shares_heads", "Share of every head less the mean over the labels.", chart)


def share_tables(result: LanguageResult) -> list[Table]:
    """Shares by head and by weight."""
    shares = result.directions.shares
    features = list(shares)
    heads = {name: head_shares(shares[name]) for name in features}
    weights = list(next(iter(shares.values())))
    return [
        Table(
            f"shares_{kind}",
            f"Share of every {kind}; shares of all weights add up to 1 for every label.",
            (kind, *features),
            [[name, *[found[feature][name] for feature in features]] for name in names],
        )
        for kind, found, names in (
            ("head", heads, list(next(iter(heads.values())))),
            ("weight", shares, partition(weights)),
        )
    ]


def spectra(result: LanguageResult) -> Picture:
    """Eigenvalues by layer."""
    chart = plot.spectrum(
        {f"layer {layer}": eigen for layer, eigen in result.directions.flattened.items()},
        title="Leading eigenvalues of the kernel of all logits",
        interactive=True,
        width="container",
    )
    return Picture("spectra", "Eigenvalues relative to the first.", chart)


def solver_table(result: LanguageResult) -> Table:
    """Convergence of the flattened kernels, plain and normalized, by layer."""
    rows: list[Cells] = [
        [
            candidate.normalization,
            f"layer {layer}",
            int(eigen.converged.sum()),
            float(eigen.residuals.max()),
            float(eigen.rank1_share.mean()),
            eigen.provenance.get("products", ""),
            eigen.provenance.get("energy_left_out", ""),
        ]
        for candidate, layers in result.directions.sweep.items()
        if candidate.readout == ALL_LOGITS
        for layer, eigen in layers.items()
    ]
    columns = (
        "normalization", "layer", "converged", "largest residual", "mean rank-1 share", "products",
        "share of the trace left out",
    )  # fmt: skip
    return Table("solver", "How the eigenpairs converged.", columns, rows)


def counts_table(result: LanguageResult) -> Table:
    """How many windows of every tag were tried and kept, and why others were dropped."""
    windows = result.data.windows
    reasons = list(windows.counts)
    rows: list[Cells] = [
        [tag, *[counts.get(reason, 0) for reason in reasons]]
        for tag, counts in windows.tag_counts.items()
    ]
    rows.append(["all", *windows.counts.values()])
    return Table(
        "window_counts",
        "Windows tried and kept, and why others were dropped.",
        ("tag of the next word", *reasons),
        rows,
    )


def window_table(result: LanguageResult) -> Table:
    """A few windows."""
    windows = result.data.windows
    rows: list[Cells] = []
    for row in range(0, len(windows), max(1, len(windows) // 24)):
        own = windows.model_words[row] if windows.model_words else ""
        rows.append([windows.tags[row], windows.text(row)[-90:], windows.words[row], own])
    return Table(
        "windows",
        "Some windows.",
        ("tag", "end of the window", "next word of the text", "the model's own"),
        rows,
    )


def dropped_table(result: LanguageResult) -> Table:
    """Labels left out."""
    rows: list[Cells] = [[name, reason] for name, reason in result.data.dropped.items()]
    return Table("dropped", "Labels that were left out, and why.", ("label", "reason"), rows)


def provenance(result: LanguageResult) -> Table:
    """Settings, versions, times."""
    rows: list[Cells] = []
    facts = {**result.settings.as_dict(), **result.model_info, **result.data.windows.provenance}
    facts |= {f"version of {name}": number for name, number in versions().items()}
    for name, value in facts.items():
        rows.append([str(name), str(value)])
    rows += [[f"seconds: {name}", value] for name, value in result.seconds.items()]
    return Table("provenance", "Settings, versions and times.", ("what", "value"), rows)
