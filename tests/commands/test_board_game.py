"""``tl-entk board-game`` on a small seed, and what it finds, stored and told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.commands.test_toys import report_of, run
from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.names import NEURONS, PCA, RANDOM, STANDARDIZED
from tl_entk.experiments.board_game import directions, jobs
from tl_entk.experiments.board_game.analysis import BoardGameResult
from tl_entk.experiments.board_game.settings import (
    AP,
    AUROC,
    FAMILIES,
    FROM_MOVES,
    KERNELS,
    METRICS,
    BoardGameSettings,
)
from tl_entk.experiments.board_game.verdict import (
    BEST_KERNEL,
    choose_roles,
    difference_over_seeds,
    figure_over_seeds,
    figures_of_roles,
)
from tl_entk.experiments.jobs import run_jobs
from tl_entk.experiments.records import recall
from tl_entk.report.parts import Signed, Table
from tl_entk.report.toys.board_game import board_game_sections

SMALL = ["board-game", "--size", "4", "--moves", "6", "--windows", "100", "--k", "4",
         "--n-layers", "1", "--d-model", "8", "--n-heads", "2", "--d-mlp", "8", "--rounds", "2",
         "--games", "128"]  # fmt: skip

FEW = (PCA, STANDARDIZED, NEURONS, RANDOM)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, the output and the page of a small seed."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directions, "READOUTS", ("logsumexp",))
        patch.setattr(directions, "COMPONENTS", ("later layers",))
        patch.setattr(directions, "BASELINES", FEW)
        result = run(*SMALL, "--workers", 1, "--out", out)
    return out, result.output, report_of(result)


@pytest.fixture(scope="module")
def seeds(made):
    """The seed, and one like it that a second training might have given."""
    (path,) = made[0].glob("othello-*/result*.safetensors")
    first = recall(BoardGameResult, path)
    lower = {
        name: figures - 0.01 * (1 + place)
        for place, (name, figures) in enumerate(first.trained.items())
    }
    settings = first.settings | {"seed": 1}
    return {0: first, 1: replace(first, settings=settings, trained=lower)}


def test_the_page_and_the_answer(made):
    out, output, page = made
    assert "best of the model's states" in output
    assert "tells its state with a mean AUROC (chance 0.50) of: best kernel 0." in output
    assert "the board after the last move of a window as features. Seeds 0.<" in page
    for heading in ("Does the model know the board?", "Controls", "Linear probes"):
        assert heading in page
    (folder,) = out.glob("board-game-seed0-size4-*")
    tables = {path.stem for path in (folder / "tables").iterdir()}
    assert {"legality", "board_auroc", "board_ap", "board_controls"} <= tables
    for name in ("board_families", "board_squares", "board_directions", "loss"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 0


def test_a_finished_seed_is_not_computed_again(made, seeds, monkeypatch):
    monkeypatch.setattr(jobs, "run_board_game", lambda *args: pytest.fail("computed again"))
    job = jobs.board_game_job(BoardGameSettings(**seeds[0].settings), made[0])
    run_jobs([job], workers=1)
    assert jobs.board_game_result(job).validations == seeds[0].validations


def test_every_method_is_judged_under_every_condition(seeds):
    for seed in seeds.values():
        names = {*KERNELS, *FEW, *FROM_MOVES}
        assert set(seed.trained) == set(seed.untrained) == set(seed.dealt) == names
        assert set(seed.validations) == names
        for figures in seed.trained.values():
            assert figures.shape == (len(METRICS), len(FAMILIES), 16)
            assert torch.equal(figures[0].isnan(), seed.shares.isnan())
        assert set(seed.probes) == set(seed.untrained_probes)
        assert 0 <= seed.probe_layer < 1
        assert all(boards.max() <= 1 for boards in seed.maps.values())


def test_figures_over_seeds_are_means_of_means(seeds):
    of = figures_of_roles()
    for place, family in enumerate(FAMILIES):
        by_seed = [np.nanmean(seed.trained[PCA][METRICS.index(AUROC)][place]) for seed in
                   seeds.values()]  # fmt: skip
        assert figure_over_seeds(seeds, of[PCA], family).value == pytest.approx(np.mean(by_seed))
    above = [
        float((seed.trained[RANDOM][METRICS.index(AP)] - seed.shares).nanmean(-1).nanmean())
        for seed in seeds.values()
    ]
    found = figure_over_seeds(seeds, of[RANDOM], None, AP)
    assert found.value == pytest.approx(np.mean(above))
    less = difference_over_seeds(seeds, of[PCA], of[RANDOM], None).value
    assert less == pytest.approx(
        figure_over_seeds(seeds, of[PCA], None).value
        - figure_over_seeds(seeds, of[RANDOM], None).value
    )
    for seed in seeds.values():
        roles = choose_roles(seed.validations)
        assert roles.kernel in KERNELS
        assert roles.states in {*FEW} - {RANDOM}
        assert seed.validations[roles.kernel] == max(seed.validations[name] for name in KERNELS)


def tables_of(seeds):
    parts = [part for section in board_game_sections(seeds) for part in section.parts]
    return {part.name: part for part in parts if isinstance(part, Table)}


def test_several_seeds_have_intervals_and_one_has_none(seeds):
    several, one = tables_of(seeds), tables_of({0: seeds[0]})
    assert set(several) == set(one) == {
        "legality", "board_differences", "board_auroc", "board_controls", "board_probes_trained"
    }  # fmt: skip
    differences = [cell for row in several["board_differences"].rows for cell in row[1:]]
    assert all(isinstance(cell, Signed) and cell.found.low < cell.found.high
               for cell in differences)  # fmt: skip
    for table in one.values():
        cells = [cell for row in table.rows for cell in row]
        assert not any(isinstance(cell, IntervalEstimate | Signed) for cell in cells)
        assert all(cell is None or isinstance(cell, str) or np.isfinite(cell) for cell in cells)


def test_controls_are_of_the_methods_that_were_chosen_for_them(seeds):
    first, *others = KERNELS
    ahead = dict.fromkeys(KERNELS, 0.1)
    seed = replace(
        seeds[0],
        validations=seeds[0].validations | ahead | {first: 0.9},
        untrained_validations=seeds[0].untrained_validations | ahead | {others[0]: 0.9},
        within={},
    )
    rows = {tuple(row[:2]): row[2:] for row in tables_of({0: seed})["board_controls"].rows}
    for condition, figures, method in (
        ("trained model", seed.trained, first),
        ("model before training", seed.untrained, others[0]),
        ("boards dealt anew", seed.dealt, first),
    ):
        means = figures[method][METRICS.index(AUROC)].nanmean(-1)
        assert rows[condition, BEST_KERNEL][:-1] == pytest.approx(means.tolist())
    # what no feature varies within is left empty
    assert rows["within a predicted move", BEST_KERNEL] == [None] * (len(FAMILIES) + 1)


@pytest.mark.plain
def test_an_estimate_runs_nothing(tmp_path):
    result = run(*SMALL, "--estimate", "--out", tmp_path / "runs")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "kernels of all logits" in result.output
    assert "come on top" in result.output
    assert not (tmp_path / "runs").exists()
