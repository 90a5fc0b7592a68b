"""The rules of the layout (docs/architecture.md), held by the source as it stands."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tl_entk"
# a folder imports from those before it; folders of one line do not know each other
ORDER = (
    ("tools",),
    ("model",),
    ("kernel",),
    ("directions",),
    ("operator", "linearization", "alignment"),
    ("compressed",),
    ("weight_space",),
    ("dynamics", "language"),
    ("results", "plot"),
    ("experiments",),
    ("report",),
    ("commands",),
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
MODULES = sorted(
    path for package in ("tl_entk", "feature_sets") for path in (ROOT / package).rglob("*.py")
)
# what reads better in one piece: a public function with a long docstring counts its code only
MOST_LINES, MOST_CODE = 400, 60


def room_of(module: str) -> str:
    """First part below tl_entk of a module's dotted name."""
    return module.split(".")[1]


def imports_of(source: str) -> list[str]:
    """Modules of tl_entk that a source imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return [name for name in found if name.startswith("tl_entk.")]


def wrong_imports(room: str, source: str) -> list[str]:
    """Imports that run against the order of the folders."""
    return [
        name
        for name in imports_of(source)
        if room_of(name) != room and RANK[room_of(name)] >= RANK[room]
    ]


def code_lines(function: ast.FunctionDef, source: list[str]) -> int:
    """Lines of a function without its docstring, comments and blank lines."""
    body = function.body
    first = body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    skipped = set(range(first.lineno, first.end_lineno + 1)) if documented else set()
    lines = range(function.lineno, function.end_lineno + 1)
    return sum(
        number not in skipped and bool(text := source[number - 1].strip()) and text[0] != "#"
        for number in lines
    )


@pytest.mark.plain
def test_imports_run_one_way():
    wrong = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] == "__init__":
            continue
        found = wrong_imports(parts[0], path.read_text(encoding="utf-8"))
        if found:
            wrong[str(path.relative_to(ROOT))] = found
    assert not wrong


@pytest.mark.plain
def test_an_import_turned_round_is_found():
    assert wrong_imports("kernel", "from tl_entk.report.page import Page\n")
    assert wrong_imports("operator", "def f():\n    import tl_entk.alignment.overlap\n")
    assert not wrong_imports("operator", "from tl_entk.kernel.blocks import kernel_blocks\n")


# what knows TransformerLens' classes and configuration: adapters, and what builds models
KNOWS_HOST = (
    "model/adapters/",
    "language/loading.py",
    "language/model_folder.py",
    "language/hooked_gemma.py",
)
BUILDS_MODELS = ("experiments/modular_transformer/model.py", "language/story_model/")


@pytest.mark.plain
def test_the_host_is_known_to_adapters_only():
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(KNOWS_HOST + BUILDS_MODELS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr == "cfg"), place
            assert not (
                isinstance(node, ast.Constant)
                and node.value in ("TransformerBridge", "HookedTransformer")
            ), place


@pytest.mark.plain
def test_feature_sets_do_not_know_the_kernel():
    for path in (ROOT / "feature_sets").rglob("*.py"):
        assert not imports_of(path.read_text(encoding="utf-8")), path


@pytest.mark.plain
def test_every_folder_says_what_it_is_for():
    for path in PACKAGE.rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring, path
        if path.parent.parent == PACKAGE:
            assert "May import: " in docstring, path


@pytest.mark.plain
def test_at_most_three_modules_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 3


@pytest.mark.plain
def test_modules_of_tests_are_short():
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "tests").rglob("*.py")
    }
    assert {path: lines for path, lines in sizes.items() if lines > MOST_LINES} == {}


@pytest.mark.plain
@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short(path):
    source = path.read_text(encoding="utf-8").splitlines()
    assert len(source) <= MOST_LINES
    for node in ast.walk(ast.parse("\n".join(source))):
        if isinstance(node, ast.FunctionDef):
            assert code_lines(node, source) <= MOST_CODE, node.name


def unsafe_calls(source: str) -> list[str]:
    """Calls that run what a file or a text holds (ruff's S rules know the standard library's)."""
    unsafe = {"torch.load", "torch.save", "np.load", "numpy.load", "joblib.load", "pd.read_pickle"}
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sorted(unsafe.intersection(map(ast.unparse, calls)))


@pytest.mark.plain
def test_no_file_is_run():
    assert {str(path): unsafe_calls(path.read_text(encoding="utf-8")) for path in MODULES} == {
        str(path): [] for path in MODULES
    }
    assert unsafe_calls("x = torch.load(path, weights_only=True)") == ["torch.load"]
