"""Arguments of the calls that run a model, besides the model itself."""

import numpy as np
import torch

import tl_entk
from tests.sparse_autoencoder import Autoencoder
from tests.wrong_input.cases import EIGEN, TOKENS, Case, crossed, every, model

W_OUT = "blocks.0.mlp.W_out"
RESIDUAL = "blocks.0.hook_resid_post"


def blocked(readout="mean_logit", components=W_OUT, **options):
    return tl_entk.kernel_blocks(model(), TOKENS, readout, components, **options)


def solved(**options):
    return tl_entk.top_eigendirections(model(), TOKENS, W_OUT, **{"k": 2} | options)


def own(function, **options):
    return blocked(tl_entk.Readout(function, **options))


RUNS = {
    "kernel_blocks": lambda x: tl_entk.kernel_blocks(model(), x, components=W_OUT),
    "kernel_operator": lambda x: tl_entk.kernel_operator(model(), x, W_OUT),
    "top_eigendirections": lambda x: tl_entk.top_eigendirections(model(), x, W_OUT, 1),
    "all_eigendirections": lambda x: tl_entk.all_eigendirections(model(), x, [W_OUT], 1),
    "default_directions": lambda x: tl_entk.default_directions(model(), x, 1),
    "gradient_norms": lambda x: tl_entk.gradient_norms(model(), x, W_OUT),
    "activations_at": lambda x: tl_entk.activations_at(model(), x, RESIDUAL),
    "baseline_scores": lambda x: tl_entk.baseline_scores(model(), x, 1, ["PCA"]),
    "sae_scores": lambda x: tl_entk.sae_scores(model(), x, Autoencoder(RESIDUAL, 12)),
    "greedy_continuation": lambda x: tl_entk.greedy_continuation(model(), x, 1),
    "sweep_directions": lambda x: tl_entk.sweep_directions(model(), x, ["logsumexp"], k=1),
    "jacobian": lambda x: tl_entk.jacobian(model(), x, W_OUT),
    "top_tokens": lambda x: tl_entk.top_tokens(torch.ones(4, 1), 0, model(), x),
    "position_contributions": lambda x: tl_entk.position_contributions(
        model(), x, W_OUT, EIGEN.take([0]), readout="logsumexp"
    ),
}
BAD_TOKENS = {
    "tokens: none": (None, "tokens|windows"),
    "tokens: text": ("the fox", "tokens|windows"),
    "tokens: list": ([[1, 2, 3]], "tokens|windows"),
    "tokens: one axis": (TOKENS[0], "tokens|windows"),
    "tokens: floats": (TOKENS.float(), "tokens|windows"),
    "tokens: no window": (TOKENS[:0], "tokens|windows|examples"),
    "tokens: no token": (TOKENS[:, :0], "tokens|windows|positions"),
    "tokens: out of the vocabulary": (TOKENS + 99, "tokens|vocabulary|windows"),
    "tokens: negative": (TOKENS - 99, "tokens|vocabulary|windows"),
}
COMPONENTS = {
    "components: unknown": ("nope", "nope"),
    "components: empty": ([], "no component"),
    "components: a number": (3, "components is a int|component 3"),
    "components: numbers": ([3], "component 3: pass a text|components"),
    "components: an empty text": ("", "component"),
    "components: out of range": ("blocks.9.mlp.W_out", "blocks.9"),
    "components: a predicate that chooses none": (lambda name: False, "chose none of the"),
}
NORMS = {
    "negative": (torch.tensor([1.0, -1.0, 1.0, 1.0]), "norm.*example 1.*positive"),
    "zero": (torch.tensor([1.0, 0.0, 1.0, 1.0]), "norm.*example 1.*positive"),
    "NaN": (torch.tensor([1.0, np.nan, 1.0, 1.0]), "norms.*not finite"),
    "too few": (torch.ones(3), "norms.*3.*4"),
    "two axes": (torch.ones(4, 1), r"norms.*shape \(4, 1\)"),
    "text": ("mine", "norms is a str.*pass"),
    "one number": (1.0, r"norms.*shape \(\)"),
}
CASES = [
    *crossed(RUNS, BAD_TOKENS),
    *crossed(
        {
            "kernel_blocks": lambda x: blocked(components=x),
            "kernel_operator": lambda x: tl_entk.kernel_operator(model(), TOKENS, x),
            "jacobian": lambda x: tl_entk.jacobian(model(), TOKENS, x),
            "gradient_norms": lambda x: tl_entk.gradient_norms(model(), TOKENS, x),
            "all_eigendirections": lambda x: tl_entk.all_eigendirections(
                model(), TOKENS, {"mine": x}, 1
            ),
        },
        COMPONENTS,
    ),
    *crossed(
        {
            "kernel_blocks": lambda x: blocked(position=x),
            "kernel_operator": lambda x: tl_entk.kernel_operator(
                model(), TOKENS, W_OUT, position=x
            ),
            "activations_at": lambda x: tl_entk.activations_at(model(), TOKENS, RESIDUAL, x),
        },
        {
            repr(value): (value, "^position ")
            for value in (None, "last", 1.5, True, 99, -99, [0, 1, 2, 3], (0,))
        },
    ),
    *crossed(
        {
            "kernel_blocks": lambda x: blocked(x),
            "kernel_operator": lambda x: tl_entk.kernel_operator(model(), TOKENS, W_OUT, readout=x),
            "all_eigendirections": lambda x: tl_entk.all_eigendirections(
                model(), TOKENS, [W_OUT], 1, readout=x
            ),
            "jacobian": lambda x: tl_entk.jacobian(model(), TOKENS, W_OUT, readout=x),
        },
        {
            "readout: unknown": ("nope", "readout 'nope'"),
            "readout: none": (None, "readout None"),
            "readout: number": (3, "readout 3"),
            "readout: list": (["logsumexp"], "readout .*'logsumexp'"),
            "readout: class without number": (("class",), "readout .*'class'"),
            "readout: class of a text": (("class", "a"), "readout .*'class'"),
            "readout: class out of range": (("class", 99), "class 99 is out of range"),
            "readout: function": (lambda logits: logits.sum(1), r"tl_entk.Readout\(function\)"),
        },
    ),
    *(
        Case(f"targets {name}", lambda value=value: blocked("target_logit", targets=value), words)
        for name, value, words in (
            ("as text", "fox", "targets"),
            ("of text", ["fox"] * 4, "targets"),
            ("too few", torch.zeros(3, dtype=int), r"targets has shape \(3,\)"),
            ("with a point", torch.zeros(4), "targets has dtype"),
            ("out of range", torch.full((4,), 99), "target 99 of example 0"),
            ("NaN", [np.nan] * 4, "targets has dtype"),
            ("ragged", [[1], [1, 2], 3, 4], "targets"),
        )
    ),
    *(
        Case(
            f"class_slice {value!r}", lambda value=value: blocked(class_slice=value), "class_slice"
        )
        for value in (3, (0, 3), "0:3", slice(50, 60), slice("a", "b"), slice(0, 5, 0))
    ),
    *(
        Case(f"dtype {value!r}", lambda value=value: blocked(dtype=value), "dtype is .*torch.float")
        for value in ("float32", torch.bfloat16, torch.int64, np.float32, 32, [torch.float32])
    ),
    Case("normalization", lambda: solved(normalization="nope"), "no normalization 'nope'"),
    Case("normalization of None", lambda: solved(normalization=None), "no normalization None"),
    Case("precision", lambda: solved(precision="half"), "precision"),
    Case("precision of a list", lambda: solved(precision=["full"]), "precision"),
    *crossed({"norms": lambda x: solved(normalization="cosine", norms=x)}, NORMS),
    Case(
        "norms that nothing uses",
        lambda: solved(norms=torch.ones(4)),
        "norms are used by cosines: leave them out.*normalization='cosine'",
    ),
    Case(
        "norms that centering does not use",
        lambda: solved(norms=torch.ones(4), normalization="centered"),
        "norms are used by cosines: leave them out",
    ),
    Case(
        "start that is a tensor", lambda: solved(start=torch.ones(4, 2)), "start is a Tensor: pass"
    ),
    Case("start of others", lambda: solved(start=EIGEN), "start has 12 rows.*same windows"),
    Case(
        "components as one text",
        lambda: tl_entk.all_eigendirections(model(), TOKENS, [], 1),
        "no component asked for",
    ),
    Case(
        "components as None",
        lambda: tl_entk.all_eigendirections(model(), TOKENS, None, 1),
        "components is a NoneType: pass",
    ),
    Case(
        "a readout that is no function", lambda: tl_entk.Readout("mean"), "function is a str: pass"
    ),
    Case("a readout of None", lambda: tl_entk.Readout(None), "function is a NoneType: pass"),
    *(
        Case(
            f"a readout's scale {value!r}",
            lambda value=value: tl_entk.Readout(torch.sum, scale=value),
            "scale = .*positive",
        )
        for value in (0, -1.0, float("nan"), float("inf"), "half", None, True)
    ),
    Case(
        "a readout of other states",
        lambda: tl_entk.Readout(torch.sum, reads="nope"),
        "reads = 'nope'",
    ),
    Case(
        "a readout of listed states",
        lambda: tl_entk.Readout(torch.sum, reads=["logits"]),
        "reads = ",
    ),
    Case(
        "one tensor per example, not in a tuple",
        lambda: own(lambda z, t: z[:, 0], per_example=torch.ones(4)),
        "per_example is a Tensor: pass a tuple of tensors",
    ),
    Case(
        "numbers per example that are none",
        lambda: own(lambda z, t: z[:, 0], per_example=(None,)),
        "per_example has a NoneType: pass",
    ),
    Case(
        "rows per example of another length",
        lambda: own(lambda z, t: z[:, 0], per_example=(torch.ones(3),)),
        "3 rows for 4 examples",
    ),
    Case("a readout that gives NaN", lambda: own(lambda z: z.sum(1) * np.nan), "not finite"),
    Case("a readout that gives infinities", lambda: own(lambda z: z.sum(1) / 0), "not finite"),
    Case("a readout that gives None", lambda: own(lambda z: None), "returned a NoneType.*return"),
    Case("a readout that gives a number", lambda: own(lambda z: 1.0), "returned a float.*return"),
    Case("a readout of one number", lambda: own(lambda z: z.sum()), r"returned shape \(\)"),
    Case("a readout of integers", lambda: own(lambda z: z.argmax(1)), "gradient|floating"),
    Case("a readout without gradient", lambda: own(lambda z: z.detach()[:, 0]), "gradient"),
    *(
        Case(
            f"operator of a readout: {name}",
            lambda function=function: tl_entk.kernel_operator(
                model(), TOKENS, W_OUT, readout=tl_entk.Readout(function)
            ),
            words,
        )
        for name, function, words in (
            ("NaN", lambda z: z.sum(1) * np.nan, "not finite"),
            ("None", lambda z: None, "returned a NoneType.*return"),
            ("without gradient", lambda z: z.detach()[:, 0], "gradient"),
        )
    ),
    *(
        Case(f"hook {value!r}", lambda v=value: tl_entk.activations_at(model(), TOKENS, v), words)
        for value, words in (
            ("nope", "no hook 'nope'; like it"),
            (None, "hook is a NoneType: pass"),
            (3, "hook is a int: pass"),
            ([], "no hook"),
            ([None], "no hook None"),
            ("blocks.0.attn.hook_pattern", "heads before positions: choose one"),
        )
    ),
    *(
        Case(f"positions, {name}", lambda o=options: taken_apart(**o), words)
        for name, options, words in (
            ("directions of none", {"eigen": None}, "eigen is a NoneType: pass EigenDirections"),
            ("directions as scores", {"eigen": torch.ones(4, 1)}, "eigen is a Tensor: pass Eigen"),
            ("directions of others", {"eigen": EIGEN}, "directions of 12 examples and 4 windows"),
            ("another readout", {"readout": "final_hidden"}, "pass the readout"),
            ("rows out of range", {"rows": torch.tensor([9])}, "row 9: there are 0 to 3"),
            ("rows as floats", {"rows": torch.ones(1)}, "rows.*integers"),
            ("rows as text", {"rows": "all"}, "rows.*integers"),
            ("rows as a mask", {"rows": torch.ones(4, dtype=bool)}, "rows.*integers"),
            ("no rows", {"rows": torch.tensor([], dtype=int)}, "no rows|rows is empty"),
            ("normalization", {"normalization": "nope"}, "no normalization 'nope'"),
        )
    ),
    *(
        Case(f"loading {name}", lambda a=args: tl_entk.load_language_model(*a), words)
        for name, args, words in (
            ("none", (None,), "name is a NoneType: pass"),
            ("a number", (3,), "name is a int: pass"),
            ("an empty name", ("",), "name = '': pass"),
            ("another class", ("stories", "nope"), "model class 'nope': pass hooked or bridge"),
            ("a listed class", ("stories", ["bridge"]), "model class .*pass hooked or bridge"),
            ("no such device", ("stories", None, "nope"), "device nope: .*Pass device cpu"),
            ("a device of None", ("stories", None, None), "device.*None"),
        )
    ),
    *(
        Case(f"vector set of {name}", lambda e=eigen: saved(e), words)
        for name, eigen, words in (
            ("none", None, "eigen is a NoneType: pass EigenDirections"),
            ("scores", torch.ones(4, 1), "eigen is a Tensor: pass EigenDirections"),
            ("nothing", {}, "no directions to write: pass one or more"),
            ("a mapping of tensors", {"a": torch.ones(4, 1)}, "eigen.*'a'.*Tensor: pass Eigen"),
            ("another space", EIGEN, "final hidden vector: pass those of"),
        )
    ),
    *(
        Case(f"top tokens, {name}", lambda o=options: topped(**o), words)
        for name, options, words in (
            ("among something else", {"among": "nope"}, "among = 'nope': pass .*examples.*all"),
            ("among a list", {"among": ["all"]}, "among = .*pass .*examples.*all"),
            ("of other windows", {"windows": TOKENS[:2]}, "scores of 4 examples: pass as many"),
            ("a tokenizer that is none", {"tokenizer": "gpt2"}, "tokenizer is a str"),
        )
    ),
]


def taken_apart(**options):
    kernel = blocked("logsumexp").total()
    eigen = tl_entk.eigendecompose(kernel, 1)
    given = {"eigen": eigen, "readout": "logsumexp"} | options
    return tl_entk.position_contributions(model(), TOKENS, W_OUT, **given)


def saved(eigen):
    return tl_entk.save_vector_set("not-written.json", model(), eigen)


def topped(**options):
    given = {"windows": TOKENS} | options
    return tl_entk.top_tokens(torch.ones(4, 1), 0, model(), given.pop("windows"), **given)


@every(CASES)
def test_wrong_arguments_are_refused(case, untyped):
    case.check()


def test_arrays_are_taken_as_tensors_are(untyped):
    norms = tl_entk.gradient_norms(model(), TOKENS, W_OUT)
    found = solved(normalization="cosine", norms=norms.numpy())
    assert torch.allclose(found.eigenvalues, solved(normalization="cosine").eigenvalues)
