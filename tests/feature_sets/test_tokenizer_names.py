"""What windows say of their tokenizer: its name, and not where it lies."""

from types import SimpleNamespace

import pytest

from feature_sets.balanced_windows import _name_tokenizer

pytestmark = pytest.mark.plain

HUB = "models--google--gemma-3-270m/snapshots/9b0cfec892e2bc2afd938c98eabe4e4a7b1e0ca1"


@pytest.mark.parametrize(
    ("folder", "name"), [("my_model", "my_model"), (HUB, "google/gemma-3-270m")]
)
def test_a_folder_is_named_by_its_last_part_or_its_model(folder, name, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    assert _name_tokenizer(SimpleNamespace(name_or_path=str(tmp_path / folder))) == name


def test_the_working_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _name_tokenizer(SimpleNamespace(name_or_path=".")) == tmp_path.name


def test_a_name_stays_and_a_missing_one_is_the_class():
    assert _name_tokenizer(SimpleNamespace(name_or_path="gpt2")) == "gpt2"
    assert _name_tokenizer(SimpleNamespace(name_or_path="")) == "SimpleNamespace"
