"""Arguments of the calls on directions of the weights."""

import functools

import torch

import tl_entk
from tests.wrong_input.cases import EIGEN, TOKENS, Case, crossed, every, model
from tests.wrong_input.test_models import BAD_TOKENS, W_OUT


@functools.cache
def found():
    """A model, which directions do not keep, and a direction of it."""
    own = model()
    blocks = tl_entk.kernel_blocks(own, TOKENS, "logsumexp", W_OUT)
    return own, tl_entk.eigendecompose(blocks, 1).weight_directions()


def gathered(**options):
    given = {"eigen": EIGEN.take([0]), "model": model(), "tokens": TOKENS} | options
    return tl_entk.weight_directions(given.pop("eigen"), given.pop("model"), **given)


def projected(**options):
    own, u = found()
    given = {"directions": u, "model": own, "tokens": TOKENS} | options
    return tl_entk.project(given.pop("directions"), given.pop("model"), **given)


def responded(**options):
    own, u = found()
    given = {"directions": u, "model": own, "tokens": TOKENS} | options
    return tl_entk.nudge_response(given.pop("directions"), given.pop("model"), **given)


def moved(direction=None, step=0.1, of=None):
    own, u = found()
    with tl_entk.nudge(of or own, u[0] if direction is None else direction, step):
        pass


def ablated(direction=None, **options):
    own, u = found()
    with tl_entk.ablate(own, u[0] if direction is None else direction, **options):
        pass


def read(**options):
    own, u = found()
    given = {"direction": u[0]} | options
    return tl_entk.reads_and_writes(own, given.pop("direction"), **given)


KINDS = {
    "text": ("u", "direction|component|u"),
    "a number": (3.0, "direction"),
    "a list": ([torch.ones(2)], "direction"),
}
CASES = [
    *crossed(
        {
            "project": lambda x: projected(tokens=x),
            "nudge_response": lambda x: responded(tokens=x),
            "weight_directions": lambda x: gathered(tokens=x, readout="logsumexp"),
        },
        {name: case for name, case in BAD_TOKENS.items() if name != "tokens: none"},
    ),
    *crossed({"nudge": moved, "ablate": ablated}, KINDS),
    *(
        Case(f"weight_directions, {name}", lambda o=options: gathered(**o), words)
        for name, options, words in (
            ("no directions", {"eigen": None}, "eigen is a NoneType: pass EigenDirections"),
            ("scores", {"eigen": torch.ones(4, 1)}, "eigen is a Tensor: pass EigenDirections"),
            ("no model", {"model": None}, "model is a NoneType: pass the model"),
            ("of other windows", {"readout": "logsumexp"}, "directions of 12 examples and 4"),
            ("another space", {"components": W_OUT}, "made with|12 examples and 4"),
            ("an unknown component", {"components": "nope"}, "nope"),
            ("an unknown readout", {"readout": "nope"}, "unknown readout 'nope'"),
            ("nothing told", {"tokens": None}, "do not know what they are of"),
        )
    ),
    *(
        Case(f"project, {name}", lambda o=options: projected(**o), words)
        for name, options, words in (
            ("no directions", {"directions": None}, "directions is a NoneType: pass Eigen"),
            ("scores", {"directions": torch.ones(4, 1)}, "directions is a Tensor: pass Eigen"),
            ("a position by a word", {"position": "last"}, "an integer, one per window, or 'all'"),
            ("a position beyond", {"position": 9}, "position"),
            ("targets of none", {"targets": torch.ones(4)}, "targets"),
            ("no memory", {"memory_budget": 5}, "memory_budget"),
            ("of no model", {"model": None}, "NoneType"),
        )
    ),
    *(
        Case(f"nudge_response, {name}", lambda o=options: responded(**o), words)
        for name, options, words in (
            ("eigendirections", {"directions": EIGEN}, r"pass eigen\.weight_directions\(\)"),
            ("a direction beyond", {"direction": 1}, "direction 1"),
            ("a text of steps", {"steps": "abc"}, "steps = 'abc'"),
            ("negative steps", {"steps": (-1.0,)}, "steps"),
        )
    ),
    *(
        Case(f"nudge, step of {name}", lambda s=step: moved(step=s), "step = .*finite number")
        for name, step in (("none", None), ("text", "1"), ("infinity", float("inf")))
    ),
    Case("ablate, half a span", lambda: ablated(span=0.5), "span"),
    Case("reads_and_writes, text", lambda: read(direction="u"), "direction is a str"),
    Case("reads_and_writes, no pair", lambda: read(pair=99), "pair 99"),
    Case("reads_and_writes, none of them", lambda: read(count=0), "count"),
]


@every(CASES)
def test_wrong_arguments_are_refused(case, untyped):
    case.check()
