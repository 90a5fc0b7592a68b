"""The report on induction heads: what it says of one seed, of several, and of a short training."""

import csv
from dataclasses import replace

import pytest
import torch

from tests.experiments.small_induction import SMALL
from tl_entk.experiments.induction.analysis import InductionResult
from tl_entk.experiments.induction.attributions import BASELINES
from tl_entk.experiments.induction.training import kept_steps
from tl_entk.report.parts import Picture
from tl_entk.report.toys.answers import answer_induction
from tl_entk.report.toys.induction import induction_sections, write_induction

pytestmark = pytest.mark.plain

STEPS = kept_steps(replace(SMALL, steps=80, checkpoints=8))


def result_of(share, loss, seed=0):
    """A result whose head 1.1 is the induction head, with this share at every record."""
    generator = torch.Generator().manual_seed(seed)

    def scores():
        return torch.rand(2, 2, generator=generator, dtype=torch.float64) / 2

    known = {name: scores() for name in ("prefix matching", "previous token", "copying",
                                         "ablation", "attribution patching")}  # fmt: skip
    known["prefix matching"][1, 1] = 0.9
    known["previous token"][0, 0] = 0.8
    methods = ("share, target_logit", "share, final_hidden", *BASELINES)
    attributions = {name: scores() for name in methods}
    course = {
        name: torch.stack([scores() for _ in STEPS])
        for name in ("share", "trace share", "prefix matching", "previous token")
    }
    course["share"][:, 1, 1] = torch.tensor(share, dtype=torch.float64)
    losses = {"repeated": loss, "new": [3.0] * len(STEPS)}
    return InductionResult(
        replace(SMALL, seed=seed).as_dict(), STEPS, losses, known, attributions, course, {}
    )


EARLY = [0.1, 0.1, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
LATE = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9]
FALLING = [0.6, 0.5, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
DROP = [3.0, 3.0, 3.0, 3.0, 0.5, 0.5, 0.5, 0.5, 0.5]


def table(folder, name):
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_answer_counts_shares_that_move_ahead_of_the_loss():
    found = {i: result_of(share, DROP, i) for i, share in enumerate((EARLY, LATE, FALLING))}
    said = answer_induction(found)
    assert "of 3 models" in said
    assert "rises in 2, in 1 of them ahead of the loss, and falls in 1, in 1 ahead of it." in said


def test_tables_of_several_seeds(tmp_path):
    found = {0: result_of(EARLY, DROP), 4: result_of(LATE, DROP, 4)}
    page = write_induction(found, tmp_path).read_text(encoding="utf-8")
    assert "Seeds 0, 4" in page
    (first, second) = table(tmp_path, "induction_leading_heads")
    assert (first["induction head"], second["induction head"]) == ("1.1", "1.1")
    assert float(first["induction head: share"]) == 0.9
    assert first["induction head: its rank"] == "1"
    assert first["previous-token head"] == "0.0"
    rows = {(row["series"], row["seed"]): row for row in table(tmp_path, "induction_half_way")}
    assert rows["loss", "0"]["half way at step"] == "40"
    assert rows["share, induction head", "0"]["after the loss"] == "-20"
    assert rows["share, induction head", "4"]["after the loss"] == "20"
    kinds = {row["method"]: row for row in table(tmp_path, "induction_rank_correlations")}
    assert kinds["share, target_logit"]["kind"] == "kernel"
    assert kinds["trace"]["kind"] == "plain baseline"
    assert kinds["copying"]["copying"] == ""
    assert float(kinds["trace"]["copying low"]) <= float(kinds["trace"]["copying"])


def test_a_single_seed_and_a_loss_that_stays(tmp_path):
    found = {0: result_of(LATE, [3.0] * 9)}
    text = write_induction(found, tmp_path).read_text(encoding="utf-8")
    assert "rises in 1, in 0 of them ahead of the loss" in text
    rows = {row["series"]: row for row in table(tmp_path, "induction_half_way")}
    assert rows["loss"]["half way at step"] == "none"
    assert rows["share, induction head"]["after the loss"] == "none"
    # one seed has no interval
    assert "trace low" not in table(tmp_path, "induction_rank_correlations")[0]


def test_charts_are_valid():
    sections = induction_sections({i: result_of(LATE, DROP, i) for i in range(3)})
    parts = [part for section in sections for part in section.parts]
    pictures = [part for part in parts if isinstance(part, Picture)]
    assert len(pictures) == 4
    for picture in pictures:
        picture.figure.to_dict(validate=True)
