"""Pages, tables and what is written beside them."""

import os
import subprocess
import sys

import numpy as np
import pytest

import tl_entk
from feature_sets import FeatureSet
from tl_entk.report.page import write_report
from tl_entk.report.parts import Section, Table
from tl_entk.tools.files import read_kept

pytestmark = pytest.mark.plain

TABLE = Table("squares", "Squares.", ("name", "R²"), [["ü, \u2026", 0.5]])


def test_tables_are_utf_8_whatever_the_machine_s_encoding(tmp_path):
    script = (
        "import pathlib, sys\n"
        "from tl_entk.report.parts import Table\n"
        r"table = Table('squares', '', ('name', 'R\u00b2'), [['\u00fc, \u2026', 0.5]])" "\n"
        "table.write(pathlib.Path(sys.argv[1]))\n"
    )  # fmt: skip
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    subprocess.run(command, check=True, env=plain)
    text = (tmp_path / "squares.csv").read_text(encoding="utf-8")
    assert text == 'name,R²\n"ü, \u2026",0.5\n'


def test_a_report_with_its_results(tmp_path):
    features = FeatureSet(np.array([[1.0], [0.0]]), ("f",), ("f",), ("f",))
    page = write_report(
        tmp_path / "run",
        "Title",
        "Lead.",
        [("label", "value")],
        [Section("Squares", "Text.", [TABLE])],
        results={"parts/features": features},
        summary={"one": 1},
    )
    assert page == tmp_path / "run" / "report.html"
    assert "R²" in page.read_text(encoding="utf-8")
    assert read_kept(page.parent / "results.json") == {"one": 1}
    assert tl_entk.load(page.parent / "parts" / "features.safetensors").names == ("f",)
    bare = write_report(tmp_path / "bare", "Title", "", [], [])
    assert [path.name for path in bare.parent.iterdir()] == ["report.html"]
