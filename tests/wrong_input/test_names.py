"""Names given as one text, twice, unknown, or as something else."""

import torch

import tl_entk
from tests.wrong_input.cases import ACTIVATIONS, EIGEN, FAST, FEATURES, TOKENS, Case, every, model

TABLE = tl_entk.best_directions(EIGEN, FEATURES, n_bootstrap=5, n_permutations=0)
COMPARISON = tl_entk.compare(EIGEN, FEATURES, ACTIVATIONS, n_bootstrap=5)


def swept(readouts=("logsumexp",), **options):
    return tl_entk.sweep_directions(model(), TOKENS, readouts, **{"k": 1} | options)


def based(names=("PCA",), **options):
    return tl_entk.baseline_scores(model(), TOKENS, 1, names, **options)


def chosen(**options):
    return tl_entk.best_directions(EIGEN, FEATURES, **FAST | options)


CASES = [
    *(
        Case(f"sweep, {name}", lambda a=args: swept(*a[0], **a[1]), words)
        for name, args, words in (
            ("one readout", (("logsumexp",), {}), r"readouts is one text.*\['logsumexp'\]"),
            ("no readouts", (([],), {}), "no readouts: pass"),
            ("none as readouts", ((None,), {}), "readouts is a NoneType: pass a list of texts"),
            ("a readout twice", ((["logsumexp"] * 2,), {}), "readouts has 'logsumexp' twice"),
            ("an unknown readout", ((["nope"],), {}), "readout 'nope'"),
            ("a readout of None", (([None],), {}), "readouts has None: pass a list of texts"),
            (
                "one component",
                ((), {"components": "W_out"}),
                r"components is one text.*\['W_out'\]",
            ),
            ("no components", ((), {"components": []}), "no components: pass"),
            ("an unknown component", ((), {"components": ["nope"]}), "no component 'nope'"),
            ("a component twice", ((), {"components": ["W_out"] * 2}), "'W_out' twice"),
            ("one normalization", ((), {"normalizations": "plain"}), "normalizations is one text"),
            ("an unknown normalization", ((), {"normalizations": ["x"]}), "no normalization 'x'"),
            ("no normalizations", ((), {"normalizations": []}), "no normalizations: pass"),
            ("one layer", ((), {"layers": 0}), r"layers is a int: pass a list"),
            ("layers as text", ((), {"layers": "01"}), "layer '0': there are 0 to 1"),
            ("a layer out of range", ((), {"layers": [7]}), "layer 7: there are 0 to 1"),
            ("a negative layer", ((), {"layers": [-1]}), "layer -1: there are 0 to 1"),
            ("a layer with a point", ((), {"layers": [0.0]}), "layer 0.0: there are 0 to 1"),
            ("no layers", ((), {"layers": []}), "no layers: pass"),
        )
    ),
    *(
        Case(f"baselines, {name}", lambda a=args: based(*a[0], **a[1]), words)
        for name, args, words in (
            ("one name", (("PCA",), {}), r"names is one text.*\['PCA'\]"),
            ("an unknown name", ((["nope"],), {}), "no baseline 'nope': there are"),
            ("a name twice", ((["PCA", "PCA"],), {}), "names has 'PCA' twice"),
            ("a name of None", (([None],), {}), "names has None: pass a list of texts"),
            ("a number", ((3,), {}), "names is a int: pass a list of texts"),
            ("one layer", ((), {"layers": 0}), "layers is a int: pass a list"),
            ("a layer out of range", ((), {"layers": [7]}), "layer 7: there are 0 to 1"),
            ("a layer with a point", ((), {"layers": [0.5]}), "layer 0.5: there are 0 to 1"),
            ("own that is no mapping", ((), {"own": [len]}), "own is a list: pass a mapping"),
            ("own of a taken name", ((), {"own": {"PCA": len}}), "'PCA' has the name of another"),
            (
                "own that is no function",
                ((), {"own": {"x": 3}}),
                "baseline 'x' is a int: pass a func",
            ),
            ("own that gives None", ((), {"own": {"x": lambda m, t: None}}), "'x' gives NoneType"),
            (
                "own of other examples",
                ((), {"own": {"x": lambda m, t: torch.ones(2, 2)}}),
                r"gives \(2, 2\) for 4 windows",
            ),
            (
                "own with NaN",
                ((), {"own": {"x": lambda m, t: torch.full((4, 2), torch.nan)}}),
                "not finite",
            ),
            (
                "own of complex numbers",
                ((), {"own": {"x": lambda m, t: torch.ones(4, 2, dtype=torch.complex64)}}),
                "complex",
            ),
            (
                "own of an unknown layer",
                ((), {"own": {"x": lambda m, t: {7: torch.ones(4, 2)}}}),
                "a layer 7",
            ),
            ("prediction of none", ((), {"k_prediction": 0}), "k_prediction = 0: pass"),
        )
    ),
    *(
        Case(f"best directions, {name}", lambda o=options: chosen(**o), words)
        for name, options, words in (
            ("columns as one text", {"columns": "abcd"}, "1 names for 4 columns"),
            (
                "too few columns",
                {"columns": ["a"]},
                "1 names for 4 columns of scores: pass one per column",
            ),
            ("columns as a number", {"columns": 4}, "columns is a int: pass"),
            ("columns of None", {"columns": [None] * 4}, "columns has None: pass"),
            ("one name twice", {"columns": ["a", "a", "b", "c"]}, "columns has 'a' twice"),
        )
    ),
    *(
        Case(f"table, {name}", call, words)
        for name, call, words in (
            ("metric", lambda: TABLE.macro("nope"), "no metric 'nope': there are"),
            ("listed metric", lambda: TABLE.macro(["ap"]), r"no metric \['ap'\]: there are"),
            ("family", lambda: TABLE.macro("ap", "nope"), "no family 'nope': there are"),
            ("listed family", lambda: TABLE.macro("ap", ["tag"]), "no family .*there are"),
            ("feature", lambda: TABLE.feature_difference(TABLE, "nope"), "no feature 'nope'"),
            (
                "other table",
                lambda: TABLE.difference(None),
                "other is a NoneType: pass a Direction",
            ),
            ("a comparison", lambda: TABLE.difference(COMPARISON), "other is a Comparison: pass"),
            (
                "of another seed",
                lambda: TABLE.difference(chosen(seed=1)),
                "seed = 0 and 1 are not paired",
            ),
            ("basis", lambda: COMPARISON.macro("nope"), "no basis 'nope': there are"),
            ("listed basis", lambda: COMPARISON.macro(["PCA"]), r"no basis \['PCA'\]: there are"),
            ("r2 of binary", lambda: COMPARISON.macro("PCA", "r2"), "no features have 'r2'"),
            ("metric of a basis", lambda: COMPARISON.macro("PCA", "x"), "no metric 'x'"),
            ("listed metric of a basis", lambda: COMPARISON.macro("PCA", ["ap"]), "no metric"),
            ("other basis", lambda: COMPARISON.difference("PCA", "x"), "no basis 'x'"),
        )
    ),
    *(
        Case(
            f"probe {value!r}",
            lambda v=value: tl_entk.compare(EIGEN, FEATURES, ACTIVATIONS, probe=v, **FAST),
            "no probe .*'logistic' or 'ridge'",
        )
        for value in ("lasso", None, 3, ["ridge"])
    ),
    *(
        Case(f"texts {name}", lambda v=value: tl_entk.top_examples(EIGEN, 0, v), words)
        for name, value, words in (
            ("as one", "abcdefghijkl", "one text.*pass"),
            ("too few", ["a"], "scores of 12 examples, texts of 1"),
            ("as a number", 3, "windows is a int: pass"),
            ("as tokens without a tokenizer", torch.ones(12, 3, dtype=int), "pass tokenizer="),
        )
    ),
    *(
        Case(f"judge {name}", lambda v=value: tl_entk.judge_sweep(v, FEATURES), words)
        for name, value, words in (
            ("none", None, "candidates is a NoneType: pass what sweep_directions returns"),
            ("directions", EIGEN, "candidates is a EigenDirections: pass what sweep_directions"),
            ("nothing", {}, "no candidates: pass what sweep_directions returns"),
            ("scores", {"a": EIGEN}, "candidate.*EigenDirections: pass"),
            ("of no layer", {"a": {}}, "candidate 'a' has no layer"),
        )
    ),
]


@every(CASES)
def test_wrong_names_are_refused(case, untyped):
    case.check()
