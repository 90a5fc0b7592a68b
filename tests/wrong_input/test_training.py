"""What cannot be followed through a training."""

import numpy as np
import pytest
import torch

import tl_entk
from tests.wrong_input.cases import FEATURES, KERNEL, Case, crossed, every, shares, whole_numbers

pytestmark = pytest.mark.plain

STEPS, ACCURACY = [0, 10, 20, 30], [0.0, 0.2, 0.9, 1.0]
COURSE = tl_entk.Course(
    torch.tensor([0, 5]), {"total": torch.ones(2, 1)}, {"sum": torch.tensor([0.0, 1.0])},
    {"sum": 4}, {"loss": torch.tensor([1.0, 0.5])}, {"total": torch.tensor([1.0, 1.0])},
)  # fmt: skip


def tracked(kernels=lambda model: {"total": KERNEL}, **options):
    given = {"at": [0, 5], "k": 2, "kernels_kept": ["total"]} | options
    return tl_entk.Track(kernels, given.pop("overlaps", None), **given)


def recorded(step=0, metrics=None, **options):
    track = tracked(**options)
    track(step, None, metrics)
    return track.course()


def watched(**options):
    given = {"kernel": "total", "modes": [0, 1], "features": FEATURES} | options
    return tl_entk.Watch(**given)


CASES = [
    *(
        Case(f"{name} of {what}", lambda f=f, a=args: f(*a), words)
        for name, f in (("onset", tl_entk.onset), ("midpoint", tl_entk.midpoint))
        for what, args, words in (
            ("two lengths", (STEPS, [0.1]), "pass one accuracy per step"),
            ("no steps", (None, ACCURACY), "steps.*pass"),
            ("steps as text", ("abcd", ACCURACY), "steps.*pass"),
            ("accuracies as text", (STEPS, "abcd"), "accuracy.*pass"),
            ("accuracies of None", (STEPS, [None] * 4), "accuracy.*pass"),
            ("percentages", (STEPS, [0, 20, 90, 100]), "fractions between 0 and 1"),
            ("infinite accuracies", (STEPS, [0, 0.2, 0.9, np.inf]), "fractions between 0 and 1"),
            ("steps that fall", ([3, 2, 1, 0], ACCURACY), "do not increase: sort"),
            ("steps that repeat", ([0, 0, 1, 2], ACCURACY), "do not increase: sort"),
            ("half steps", ([0, 0.5, 1, 2], ACCURACY), "steps.*integers"),
            ("infinite steps", ([0, 1, 2, np.inf], ACCURACY), "steps.*(integers|finite)"),
            ("NaN steps", ([0, 1, 2, np.nan], ACCURACY), "steps.*(integers|finite)"),
            ("two records", ([0, 1], [0.0, 1.0]), "pass three or more"),
            ("NaN alone", (STEPS, [np.nan] * 4), "pass three or more"),
            ("two axes", (np.ones((2, 2)), np.ones((2, 2))), "shape"),
        )
    ),
    *crossed({"onset": lambda x: tl_entk.onset(STEPS, ACCURACY, x)}, shares("rise")),
    *crossed(
        {
            "onset": lambda x: tl_entk.onset(STEPS, ACCURACY, least_rise=x),
            "midpoint": lambda x: tl_entk.midpoint(STEPS, ACCURACY, least_rise=x),
        },
        shares("least_rise"),
    ),
    *crossed({"relation": lambda x: tl_entk.relation(5, 10, x)}, whole_numbers("spacing")),
    *(
        Case(f"relation of {value!r}", lambda v=value: tl_entk.relation(v, 10, 5), "peak_step = ")
        for value in (None, "5", float("nan"), 1.5, True)
    ),
    *(
        Case(f"relation to {value!r}", lambda v=value: tl_entk.relation(5, v, 5), "onset_step = ")
        for value in (None, "5", float("nan"), 1.5)
    ),
    *(
        Case(f"watch with {name}", lambda o=options: watched(**o), words)
        for name, options, words in (
            ("modes none", {"modes": []}, r"pass one or more, each once"),
            ("modes twice", {"modes": [1, 1]}, "each once"),
            ("modes out of range", {"modes": [12]}, "modes 0 to 11"),
            ("negative modes", {"modes": [-1]}, "modes 0 to 11"),
            ("half modes", {"modes": [0.5]}, "mode 0.5|modes.*integers"),
            ("modes as text", {"modes": "01"}, "mode '0'|modes.*integers"),
            ("one mode", {"modes": 1}, "modes is a int: pass a list"),
            ("true modes", {"modes": [True]}, "mode True|modes.*integers"),
            ("features none", {"features": None}, "features is a NoneType"),
            ("features as text", {"features": "sum"}, "features is a str"),
            ("features of one axis", {"features": torch.ones(12)}, r"shape \(12,\)"),
            ("constant features", {"features": torch.ones(12, 1)}, "constant"),
            ("features with NaN", {"features": torch.full((12, 1), np.nan)}, "not finite"),
            ("a kernel of None", {"kernel": None}, "kernel is a NoneType: pass a name"),
            ("a kernel that is a tensor", {"kernel": KERNEL}, "kernel is a Tensor: pass a name"),
        )
    ),
    *crossed({"track": lambda x: tracked(k=x)}, whole_numbers("k")),
    *(
        Case(f"track, {name}", lambda o=options: tracked(**o), words)
        for name, options, words in (
            ("no step", {"at": []}, "at is empty: pass the steps"),
            ("one step", {"at": 5}, "at is a int: pass"),
            ("steps as text", {"at": "05"}, "at has '0': pass integers"),
            ("half steps", {"at": [0.5]}, "at has 0.5: pass integers"),
            ("negative steps", {"at": [-5]}, "at has -5: pass integers"),
            ("no kernel", {"kernels_kept": []}, "no kernel to follow: pass"),
            ("kernels as one text", {"kernels_kept": "total"}, "kernels_kept is one text"),
            ("kernels of None", {"kernels_kept": [None]}, "kernels_kept has None"),
            ("no function", {"kernels": {"total": KERNEL}}, "kernels is a dict: pass a function"),
            ("overlaps listed", {"overlaps": [watched()]}, "overlaps is a list: pass a mapping"),
            (
                "overlaps of features",
                {"overlaps": {"a": FEATURES}},
                "'a' is a FeatureSet: pass a W",
            ),
            ("modes beyond k", {"overlaps": {"a": watched(modes=[5])}}, "pass k=6 or more"),
            ("provenance", {"provenance": {"x": KERNEL}}, "provenance cannot be saved.*JSON"),
            ("provenance as text", {"provenance": "mine"}, "provenance is a str: pass a mapping"),
        )
    ),
    *(
        Case(f"record, {name}", lambda o=options: recorded(**o), words)
        for name, options, words in (
            ("step None", {"step": None}, "step = None: pass an integer"),
            ("half a step", {"step": 0.5}, "step = 0.5: pass an integer"),
            ("a step as text", {"step": "0"}, "step = '0': pass an integer"),
            ("a true step", {"step": True}, "step = True: pass an integer"),
            ("a step not asked for", {"step": 3}, "no record yet: call at"),
            ("metrics as text", {"metrics": "loss"}, "a metric is no number"),
            ("a metric of None", {"metrics": {"loss": None}}, "a metric is no number"),
            ("a metric of many", {"metrics": {"loss": torch.ones(2)}}, "a metric is no number"),
            ("a metric without name", {"metrics": {None: 1.0}}, "metric.*None.*text"),
            ("kernels of None", {"kernels": lambda m: None}, "kernels gave a NoneType"),
            ("a kernel alone", {"kernels": lambda m: KERNEL}, "kernels gave a Tensor"),
            ("a kernel of None", {"kernels": lambda m: {"total": None}}, "'total'.*NoneType"),
            ("a kernel of text", {"kernels": lambda m: {"total": "K"}}, "'total'.*str"),
            (
                "another kernel",
                {"kernels": lambda m: {"b": KERNEL, "c": KERNEL[:5, :5]}},
                "block 'c'",
            ),
            ("a kernel of one axis", {"kernels": lambda m: {"total": KERNEL[0]}}, "square"),
            ("k beyond the kernel", {"k": 13}, "k = 13.*12 eigendirections"),
            ("a kernel with NaN", {"kernels": lambda m: {"total": KERNEL * np.nan}}, "not finite"),
        )
    ),
    Case("a course of no watch", lambda: COURSE.derivative("nope"), "no overlap 'nope'", KeyError),
    Case("a peak of no watch", lambda: COURSE.peak(None), "no overlap None", KeyError),
    Case("one record's slope", lambda: COURSE.before(5).peak("sum"), "takes two records"),
    *(
        Case(
            f"a share of {value!r} seconds",
            lambda v=value: COURSE.share_of(v),
            "training_seconds = ",
        )
        for value in (0, -1.0, float("nan"), None, "1", float("inf"))
    ),
    *(
        Case(f"before {value!r}", lambda v=value: COURSE.before(v), "step = ")
        for value in (None, "5", float("nan"))
    ),
    Case("joined with none", lambda: COURSE.joined(None), "record is a NoneType: pass a Course"),
    *(
        Case(f"a course with {name}", lambda a=args: tl_entk.Course(*a), words)
        for name, args, words in (
            (
                "two lengths",
                (torch.arange(3), {}, {"s": torch.ones(2)}, {"s": 1}, {}, {}),
                "'s'.*2.*3",
            ),
            ("steps of text", ("ab", {}, {}, {}, {}, {}), "steps"),
            (
                "no maximum",
                (torch.arange(2), {}, {"s": torch.ones(2)}, {}, {}, {}),
                "max_overlap.*'s'",
            ),
            (
                "tables of None",
                (torch.arange(2), None, {}, {}, {}, {}),
                "eigenvalues is a NoneType",
            ),
        )
    ),
]


@every(CASES)
def test_wrong_courses_are_refused(case, untyped):
    case.check()


def test_arrays_lists_and_tensors_are_taken_alike(untyped):
    for kind in (list, np.array, torch.tensor):
        assert tl_entk.onset(kind(STEPS), kind(ACCURACY)) == 10
