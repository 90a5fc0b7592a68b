"""Folder names of language runs: readable, and no two different runs under one."""

from dataclasses import fields, replace

import pytest

from tl_entk.experiments.language.settings import (
    LanguageSettings,
    kernels_name,
    run_name,
    windows_name,
)

pytestmark = pytest.mark.plain

PLAIN = LanguageSettings()
GEMMA = LanguageSettings(model="gemma-3-270m", dataset="TinyStories")
# a value of every setting that is not the default one
OTHER = {
    "model": "gemma", "dataset": "stories.txt", "layers": (3,), "k": 9, "per_tag": 16,
    "length": 16, "bos": False, "per_story": 2, "readouts": (), "components": ("W_in",),
    "normalizations": ("cosine",), "baselines": (), "controls": (), "shares": False,
    "weight": "mlp.W_in", "all_logits": False, "outputs": 8, "exact": True, "labels": ("a=b",),
    "agree": False, "pipeline": "embedded", "column": "story", "split": "test", "max_texts": 9,
    "missing": "refuse", "sampled": 9, "tol": 0.5, "probe": "ridge", "seed": 1,
    "model_class": "bridge", "causal": True,
}  # fmt: skip


def test_names_say_model_text_sizes_and_seed():
    assert run_name(PLAIN) == "language-stories-n256-k25-seed0"
    assert windows_name(PLAIN) == "windows-stories-n256-seed0"
    assert kernels_name(PLAIN) == "kernels-mlp.W_out-k25"
    found = run_name(replace(GEMMA, per_tag=36, k=5, seed=3))
    assert found == "language-gemma-3-270m_TinyStories-n288-k5-seed3"


def test_every_setting_makes_another_name():
    assert set(OTHER) == {field.name for field in fields(LanguageSettings)}
    names = {run_name(GEMMA)}
    for name, value in OTHER.items():
        names.add(run_name(replace(GEMMA, **{name: value})))
    assert len(names) == 1 + len(OTHER)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a/model", "x"), ("b/model", "x")),
        (("model", "x"), ("b/model", "x")),
        (("a-b", "c"), ("a", "b-c")),
        (("a_b", "c"), ("a", "b_c")),
        (("model", "x/y"), ("model", "z/y")),
        (("a b", "c"), ("a-b", "c")),
    ],
)
def test_names_that_are_cut_are_told_apart(one, other):
    first, second = (LanguageSettings(model=model, dataset=text) for model, text in (one, other))
    assert run_name(first) != run_name(second)
    assert windows_name(first) != windows_name(second)


def test_names_are_safe_in_any_shell_and_file_system():
    found = run_name(LanguageSettings(model="C:\\models/ my model/", dataset="~/a b*.txt"))
    assert not set(found) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
