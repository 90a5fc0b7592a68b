"""Course: derivative, peak and share; joined, cut, written and read again."""

import pytest
import torch

from tl_entk import Course, Peak

pytestmark = pytest.mark.plain


def course(steps, overlap, **more):
    steps = torch.tensor(steps)
    overlaps = {"sum": torch.as_tensor(overlap, dtype=torch.float64)}
    seconds = {"total": torch.full((len(steps),), 0.5, dtype=torch.float64)}
    eigenvalues = {"total": torch.ones(len(steps), 2)}
    return Course(steps, eigenvalues, overlaps, {"sum": 4}, {}, seconds, **more)


def test_the_derivative_of_a_parabola_is_exact_on_uneven_steps():
    steps = [0, 1, 3, 4, 9, 10]
    slopes = course(steps, [s**2 for s in steps]).derivative("sum")
    torch.testing.assert_close(slopes[1:-1], 2 * torch.tensor(steps[1:-1]).double())


def test_the_peak_is_where_the_overlap_rises_most_per_step():
    # the larger jump takes more steps
    peak = course([0, 1, 2, 12, 22], [0.0, 0.0, 1.0, 3.0, 3.1]).peak("sum")
    assert peak.step == 2
    assert peak.value == pytest.approx((1.0 * 10 + 0.2 * 1) / 11)  # weighed by the other's width


def test_the_first_of_equal_peaks_counts_and_a_fall_is_none():
    # steepest of all is the fall, by far; the two rises are alike
    rises = course([0, 1, 2, 3, 4, 5, 6, 7, 8], [3.0, 0.0, 0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0])
    peak = rises.peak("sum")
    assert (peak.step, peak.value) == (3, 1.0)


def test_a_peak_is_of_the_overlap_it_is_asked_for():
    both = course([0, 2, 4, 6], [0.0, 4.0, 4.0, 4.0])
    both.overlaps["late"] = torch.tensor([0.0, 0.0, 0.0, 3.0])
    assert (both.peak("sum"), both.peak("late")) == (Peak(0, 2.0), Peak(6, 1.5))


def test_a_course_cut_and_joined_is_whole_again():
    whole = course([0, 5, 10], [0.0, 1.0, 3.0], provenance={"seed": 3})
    last = course([10], [3.0], provenance={"seed": 4})
    last.metrics["loss"] = torch.tensor([0.5], dtype=torch.float64)
    assert whole.before(6).steps.tolist() == whole.before(10).steps.tolist() == [0, 5]
    again = whole.before(10).joined(last)
    assert again.steps.tolist() == [0, 5, 10]
    for table in ("eigenvalues", "overlaps", "seconds"):
        for name, column in getattr(whole, table).items():
            assert torch.equal(getattr(again, table)[name], column), (table, name)
    assert again.metrics["loss"].isnan().tolist() == [True, True, False]
    assert again.provenance == {"seed": 4}
    assert whole.steps.tolist() == [0, 5, 10]


def test_before_its_first_step_a_course_is_empty():
    none = course([5, 10], [0.0, 1.0]).before(5)
    assert len(none) == 0
    assert not none
    assert none.eigenvalues["total"].shape == (0, 2)


def test_the_share_is_of_the_training_without_tracking():
    assert course([0, 1, 2, 3], [0.0] * 4).share_of(40.0) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="wall time"):
        course([0], [0.0]).share_of(0.0)


def test_a_derivative_takes_two_records_and_a_name():
    with pytest.raises(ValueError, match="two records"):
        course([0], [0.0]).derivative("sum")
    with pytest.raises(KeyError, match="'sum'"):
        course([0, 1], [0.0, 1.0]).derivative("difference")


def test_a_course_comes_back_from_its_file(tmp_path):
    saved = course([0, 5], [0.0, 1.0], provenance={"seed": 3})
    saved.metrics["a/b"] = torch.tensor([0.5, torch.nan], dtype=torch.float64)
    path = saved.save(tmp_path / "new" / "course")
    assert path.name == "course.safetensors"
    loaded = Course.load(tmp_path / "new" / "course")
    assert torch.equal(loaded.steps, saved.steps)
    for table in ("eigenvalues", "overlaps", "metrics", "seconds"):
        before, after = getattr(saved, table), getattr(loaded, table)
        assert list(before) == list(after)
        for name in before:
            torch.testing.assert_close(before[name], after[name], rtol=0, atol=0, equal_nan=True)
    assert (loaded.max_overlap, loaded.provenance) == ({"sum": 4}, {"seed": 3})


def test_files_that_are_no_course(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match="no file"):
        Course.load(tmp_path / "none")
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    for name in ("text", "other"):
        with pytest.raises(ValueError, match="is no course"):
            Course.load(tmp_path / name)
