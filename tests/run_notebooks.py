"""Run notebooks at full size and keep their outputs, without what other packages say beside.

python -m tests.run_notebooks demos/*.ipynb
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run(path: Path) -> None:
    """Execute one in a temporary folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources=place, record_timing=False
        )
        client.execute()
    # the version of Python, which would change with every machine
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": metadata["kernelspec"], "language_info": {"name": "python"}}
    )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    nbformat.write(notebook, path)


if __name__ == "__main__":
    # of this checkout, whatever is installed
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    os.environ.pop("TL_ENTK_SMALL", None)
    for name in sys.argv[1:]:
        start = time.monotonic()
        run(Path(name))
        print(f"{name}: {time.monotonic() - start:.0f} s")
