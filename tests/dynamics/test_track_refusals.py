"""What a Track refuses: steps, kernels, options and watches that do not go together."""

import pytest
import torch

from tests.dynamics.trainings import FEATURES, N, Net, net_kernels, track_of
from tl_entk import Track, Watch

pytestmark = pytest.mark.plain


def test_steps_must_increase():
    track = track_of()
    track(5, Net())
    for step in (5, 3):
        with pytest.raises(ValueError, match="increasing steps"):
            track(step, Net())


def test_a_course_needs_a_record():
    with pytest.raises(ValueError, match="no record yet"):
        track_of().course()


def test_a_step_that_failed_can_be_called_again():
    track = track_of()
    with pytest.raises(TypeError, match="no number"):
        track(0, Net(), {"loss": "low"})
    track(0, Net(), {"loss": 0.5})
    assert track.course().steps.tolist() == [0]


@pytest.mark.parametrize("step", [0, 1], ids=["due", "not yet due"])
@pytest.mark.parametrize(
    ("kernels", "kernel", "error", "advice"),
    [
        (net_kernels, "third", ValueError, "gives no 'third'.*'first'.*'total'"),
        (lambda m: {"total": torch.eye(5)}, "total", ValueError, "same examples"),
        (lambda m: torch.eye(N), "total", TypeError, 'return KernelBlocks, or {"total"'),
        (lambda m: {}, "total", ValueError, "gives no 'total'"),
    ],
)
def test_bad_kernels_are_refused_at_the_first_call(kernels, kernel, error, advice, step):
    with pytest.raises(error, match=advice):
        track_of(kernels, kernel, at=[0, 50])(step, Net())


def test_a_kernel_kept_that_is_too_small():
    track = track_of(lambda m: {"total": torch.eye(N), "a": torch.eye(2)}, kernels_kept=["a"])
    with pytest.raises(ValueError, match="kernel 'a' has 2 eigendirections"):
        track(0, Net())


def test_a_kernel_that_is_not_finite_says_when_and_which():
    track = track_of(lambda m: {"total": torch.full((N, N), torch.nan)}, at=[7])
    with pytest.raises(ValueError, match="not finite") as caught:
        track(7, Net())
    assert caught.value.__notes__ == ["kernel 'total' at step 7"]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"at": []}, "at is empty"),
        ({"k": 2}, "pass k=3"),
        ({"k": N + 1}, f"here {N}"),
    ],
)
def test_bad_options(options, advice):
    with pytest.raises(ValueError, match=advice):
        track_of(**options)


def test_nothing_to_follow_and_features_that_disagree():
    with pytest.raises(ValueError, match="no kernel to follow"):
        Track(net_kernels, at=[0], k=2)
    with pytest.raises(ValueError, match="k = 0"):
        Track(net_kernels, kernels_kept=["first"], at=[0], k=0)
    both = {"a": Watch("first", [0], FEATURES), "b": Watch("first", [0], FEATURES[:-1])}
    with pytest.raises(ValueError, match="'b' are of 5 examples"):
        Track(net_kernels, both, at=[0], k=2)


@pytest.mark.parametrize(
    ("modes", "features", "advice"),
    [
        ([], FEATURES, "one or more"),
        ([1, 1], FEATURES, "each once"),
        ([-1], FEATURES, "has modes 0"),
        (range(N - 1, N + 1), FEATURES, "has modes 0 to 5"),
        ([0], FEATURES[:, 0], "examples, features"),
        ([0], torch.ones(N, 1), "constant"),
    ],
)
def test_bad_watches(untyped, modes, features, advice):
    with pytest.raises(ValueError, match=advice):
        Watch("total", modes, features)
