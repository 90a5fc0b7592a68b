"""The documentation: its Python runs, its names and messages exist, its links lead somewhere."""

import ast
import functools
import importlib
import inspect
import re
import unicodedata
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

import feature_sets
import tl_entk
from tests.models import HAS_HOOKED
from tests.snippets import PAGES, README, ROOT, read_snippets, run_snippets

DOCS = ROOT / "docs"
WITH_PYTHON = [path for path in (README, *PAGES) if read_snippets(path)]
CASES = [
    (path, tab)
    for path in WITH_PYTHON
    for tab in sorted({snippet.tab for snippet in read_snippets(path)} - {None}) or [None]
    if tab != "HookedTransformer" or HAS_HOOKED
]
most_stories = 64


@functools.cache
def load(name: str):
    from tl_entk.language.loading import load_language_model

    return load_language_model(name)


@functools.cache
def load_pipeline():
    from feature_sets.pipelines import load_pipeline

    return load_pipeline()


@functools.cache
def stories():
    from tl_entk.language.story_model.sample import sample_stories

    return sample_stories(most_stories)


def some_stories(n: int) -> list[str]:
    """Story i depends on i alone, so that pages share them."""
    assert n <= most_stories, f"{n} stories take long: {most_stories} do for the documentation"
    return stories()[:n]


@pytest.fixture
def _loaded_once(monkeypatch, tmp_path):
    """What pages load anew is loaded once; nothing they do changes it."""
    monkeypatch.setattr(tl_entk, "load_language_model", load)
    monkeypatch.setattr(tl_entk, "sample_stories", some_stories)
    monkeypatch.setattr(feature_sets, "load_pipeline", load_pipeline)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    torch.manual_seed(0)
    yield
    plt.close("all")


def _workflow(names, shown):
    assert Path("blocks.safetensors").exists()
    assert sum(names["shares"][n] for n in names["blocks"].partition()) == pytest.approx(1)
    assert "blocks.0.head[3]" in shown
    assert "all activations" in shown
    assert "mine" in names["table"].bases


def _large_models(names, shown):
    assert "products of" in shown
    assert bool(names["top"].converged.all())


def _own_labels(names, shown):
    assert names["features"].names == ("tag=NOUN", "tag=VERB", "tag=DET", "length")
    *rows, difference = shown.splitlines()
    tags = list(names["labels"].features.family("tag").names)
    assert difference.startswith("IntervalEstimate(value=")
    assert [line.split()[0] for line in rows[-len(tags) :]] == tags


def _own_module(names, shown):
    assert list(names["trace"]) == ["W", "W@encode", "W@decode"]
    assert "loss ratio" in shown


def _rotate(names, shown):
    assert "rotate_by_varimax 0.23 1.0\nrotate_by_ica 0.23 1.0" in shown
    before, after = (
        tl_entk.purity(vectors, names["waves"]).mean()
        for vectors in (names["mixed"], names["rotated"].vectors)
    )
    assert before < 0.6
    assert after > 0.99


def _directions(names, shown):
    lines = shown.splitlines()
    assert lines[1].endswith("tasty treat")
    assert "to play with" in lines[2]
    assert lines[4].strip().startswith("raised: 'oon' '.' ' near'")
    assert lines[6:8] == [" he    0.20", " went  0.02"]
    assert lines[-2:] == ["True", "3 7.5"]


def _plots(names, shown):
    for drawn in ("spectrum.png", "both.pdf", "directions.svg", "directions.html"):
        assert Path(drawn).stat().st_size > 10_000
    fetched = re.findall(
        r"<(?:script|link)[^>]*(?:src|href)=", Path("directions.html").read_text(encoding="utf-8")
    )
    assert not fetched  # opens without a network


def _dynamics(names, shown):
    assert names["course"].steps.tolist() == [0, 20, 40, 60, 80, 100]
    assert shown.splitlines()[-1] == "20 precedes"


# what must hold after a page has run, beside that it runs: its names, and what it printed
CHECKS = {
    "how-to/workflow.md": _workflow,
    "how-to/large-models.md": _large_models,
    "how-to/own-labels.md": _own_labels,
    "how-to/own-module.md": _own_module,
    "how-to/rotate.md": _rotate,
    "how-to/dynamics.md": _dynamics,
    "how-to/plots.md": _plots,
    "concepts/directions.md": _directions,
}


@pytest.mark.usefixtures("_loaded_once")
@pytest.mark.parametrize(("path", "tab"), CASES, ids=lambda part: getattr(part, "stem", part))
def test_the_python_of_a_page_does_what_it_says(path, tab, capsys):
    names = run_snippets(read_snippets(path), tab)
    shown = capsys.readouterr().out
    if path != README and (check := CHECKS.get(path.relative_to(DOCS).as_posix())):
        check(names, shown)


def test_every_check_is_of_a_page():
    assert {DOCS / name for name in CHECKS} <= set(WITH_PYTHON)


# what stands in the reference


def groups_of_names(package: str) -> dict[str, list[str]]:
    """Heading (a comment in ``__all__``) to the public names below it."""
    source = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
    listed = source[source.index("__all__") :]
    groups: dict[str, list[str]] = {"": []}
    for line in listed[: listed.index("\n]")].splitlines()[1:]:
        if heading := re.fullmatch(r"\s+# (.+)", line):
            groups[heading[1]] = []
        else:
            groups[list(groups)[-1]] += re.findall(r'"(\w+)"', line)
    return {heading: names for heading, names in groups.items() if names}


def documented(package: str) -> dict[str, list[str]]:
    """Title of a page of the reference, in small letters, to the package's names on it."""
    found = {}
    for path in sorted((DOCS / "reference").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if names := re.findall(rf"^::: {package}\.(\w+)$", text, re.MULTILINE):
            found[text.splitlines()[0].removeprefix("# ").lower()] = names
    return found


def test_every_public_name_has_its_place_in_the_reference():
    assert documented("tl_entk") == {
        heading.lower(): names for heading, names in groups_of_names("tl_entk").items()
    }
    (names,) = documented("feature_sets").values()
    assert sorted(names) == sorted(set(feature_sets.__all__) - {"UserError"})


def test_every_public_name_has_a_line_in_the_list_of_names():
    listed = re.findall(r"^ {4}(\w+(?:, \w+)*) {2,}\S", tl_entk.__doc__, re.MULTILINE)
    assert [name for names in listed for name in names.split(", ")] == tl_entk.__all__


def test_every_public_name_says_what_it_is():
    for package in (tl_entk, feature_sets):
        for name in package.__all__:
            assert getattr(package, name).__doc__, name


def test_every_public_function_has_its_costs():
    costs = (DOCS / "costs.md").read_text()
    for package in (tl_entk, feature_sets):
        for name in package.__all__:
            thing = getattr(package, name)
            assert inspect.isclass(thing) or re.search(rf"\b{name}\b", costs), name


def test_costs_name_public_calls():
    rows = re.findall(r"^\| (`.+?) \|", (DOCS / "costs.md").read_text(), re.MULTILINE)
    known = {*tl_entk.__all__, *feature_sets.__all__, "blocks", "sum", "eigendecompose"}
    for row in rows:
        for call in re.findall(r"`\.?([\w.]+)[^`]*`", row):
            assert set(call.split(".")) & known, call


# error messages


def messages() -> set[str]:
    """Every text of an error or a warning in the code, what is filled in as "..."."""

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values
            )
        if isinstance(node, ast.BinOp):
            return text(node.left) + text(node.right)
        return str(node.value) if isinstance(node, ast.Constant) else "..."

    found = set()
    for package in ("tl_entk", "feature_sets"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args:
                    name = ast.unparse(node.func)
                    if name.endswith(("Error", "warn_user")):
                        found.add(text(node.args[0]))
    return found


def test_every_message_in_troubleshooting_is_in_the_code():
    quoted = re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 40
    known = messages()
    assert [text for text in quoted if not any(text in message for message in known)] == []


# links


def anchors(path: Path) -> set[str]:
    """Those of a page's headings, as Markdown's table of contents makes them."""
    text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: set[str] = set()
    for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
        package, public = name.split(".")
        members = vars(getattr(importlib.import_module(package), public))
        found |= {name, *(f"{name}.{member}" for member in members)}
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading.replace("`", ""))
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return found


@pytest.mark.parametrize("path", [README, ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda p: p.stem)
def test_links_lead_somewhere(path):
    text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        file = (path.parent / target) if target else path
        assert file.is_file(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {path.relative_to(DOCS).as_posix() for path in PAGES} <= listed


def test_what_builds_the_site_is_pinned():
    project = (ROOT / "pyproject.toml").read_text()
    extra = re.search(r"^docs = \[(.*?)\]$", project, re.MULTILINE | re.DOTALL)[1]
    pinned = (ROOT / "constraints" / "docs.txt").read_text()
    for name in re.findall(r'"([\w-]+)', extra):
        assert f"\n{name}==" in pinned, name
