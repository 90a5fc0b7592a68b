"""Mutation testing of the core: small faults put into its functions, which tests have to notice.

pytest starts and collects once, and runs the tests once to see which lines each of them runs. Then
every mutant is a process of its own, forked from there: the mutated function's code takes the place
of the right one, and the tests that run the mutated line go through it, the quickest first, until
one fails. What is mutated are the bodies of functions: operators, comparisons, numbers, conditions,
arguments, results, and statements that are left out. Wording (strings, what is raised or printed)
is not. Survivors are for a reader to judge: a fault that no user can see (another tile's size) is
none.

Why no tool: mutmut starts pytest several times in one process, which jaxtyping's import hook
refuses, and leaves decorated functions and properties out; cosmic-ray starts Python and imports
torch and the host anew for each mutant.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import os
import pickle
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import pytest

from tests.mutations import faults, nodes

ROOT = Path(__file__).parents[1]
KERNEL = (
    "kernel/test_gram kernel/test_plan kernel/test_blocks_call kernel/test_blocks "
    "kernel/test_blocks_oracle "
)
OPERATOR = "operator/test_network operator/test_operator operator/test_operator_oracle "
BEST = "alignment/test_best_directions alignment/test_controls wrong_input/test_names test_display"
GIVEN = "wrong_input/test_directions test_display "
# what is mutated, and tests of it
MODULES = {
    "kernel/blocks": KERNEL + "kernel/test_properties",
    "kernel/gram": KERNEL + "model/test_memory",
    "kernel/plan": KERNEL,
    "operator/operator": OPERATOR + "operator/test_estimate",
    "operator/network": OPERATOR + "operator/test_changed_models",
    "operator/suffix": OPERATOR + "operator/test_vanishing_gradients",
    "operator/weight_maps": OPERATOR + "operator/test_weight_maps",
    "directions/eigen": GIVEN
    + "directions/test_eigen directions/test_examples alignment/test_rank test_damaged_files",
    "alignment/overlap": GIVEN + "alignment/test_overlap alignment/test_properties",
    "alignment/best_directions": BEST,
    "alignment/direction_search": BEST,
}
# sweeps over all architectures take minutes
MODELS = "not hf: and not hooked:"
SECONDS = 20.0  # of tests for one mutant, on a free processor


class Mutant(NamedTuple):
    """One fault: the node of a file's tree, in which function, and which of its faults, if any."""

    path: str
    function: str
    node: int
    fault: int | None
    line: int
    what: str


class Ran(NamedTuple):
    """What a test took, and the (path, line) that it ran."""

    seconds: float
    lines: set[tuple[str, int]]


def find_mutants(path: str) -> list[Mutant]:
    """All of a file."""
    return [
        Mutant(path, function, index, number, fault.line, fault.what)
        for index, (function, node) in enumerate(nodes(_parse(path)))
        for number, fault in enumerate(faults(node))
    ]


def _parse(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"), path)


def put_in_place(mutant: Mutant) -> None:
    """The fault's code into the function that exists, whatever has decorated it."""
    tree = _parse(mutant.path)
    node = list(nodes(tree))[mutant.node][1]
    if mutant.fault is not None:
        list(faults(node))[mutant.fault].change(node)
    todo = [compile(ast.fix_missing_locations(tree), mutant.path, "exec", dont_inherit=True)]
    for code in todo:
        if code.co_qualname == mutant.function:
            break
        todo += [one for one in code.co_consts if hasattr(one, "co_qualname")]
    found = [
        one
        for one in gc.get_objects()
        if type(one) is FunctionType
        and one.__code__.co_filename == mutant.path
        and one.__code__.co_qualname == mutant.function
    ]
    if not found:
        raise LookupError(f"no function {mutant.function} in {mutant.path}")
    for function in found:
        function.__code__ = code


def forked(work: Callable[[], Any], limit: float) -> Any:
    """What some work in a process of its own finds; None if it takes too long or crashes."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, limit)  # of this process alone, whatever else runs
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        try:
            found = work()
        except BaseException as error:
            found = error  # of this script: a test's own are its result
        with os.fdopen(write, "wb") as out:
            pickle.dump(found, out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as result:
        data = result.read()
    os.waitpid(child, 0)
    found = pickle.loads(data) if data else None
    if isinstance(found, BaseException):
        raise found
    return found


def trace(paths: set[str], lines: set[tuple[str, int]]) -> Callable[..., Any]:
    """A trace function that notes the lines run of some files."""

    def note(frame: Any, event: str, _: Any) -> Any:
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return note

    return lambda frame, *_: note if frame.f_code.co_filename in paths else None


class Mutation:
    """A plugin of pytest that runs mutants where tests would run."""

    def __init__(self, modules: Sequence[str], count: int, seed: int) -> None:
        self.modules = modules
        self.paths = [str(ROOT / "tl_entk" / f"{module}.py") for module in modules]
        self.count, self.seed = count, seed

    def pytest_configure(self) -> None:
        """The same examples each time, and the first that fails is enough."""
        from hypothesis import Phase, settings  # pytest has to see its import

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", database=None, derandomize=True, phases=phases)
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All of it."""
        for module in self.modules:
            importlib.import_module(f"tl_entk.{module.replace('/', '.')}")
        began = time.monotonic()
        ran = forked(lambda: self.run_all(session), 3600)
        took = time.monotonic() - began
        print(f"\n{len(ran)} of {len(session.items)} tests pass, {took:.0f} s", flush=True)
        for path in self.paths:
            self.run_module(session, path, ran)
        return True

    def run_all(self, session: pytest.Session) -> dict[str, Ran]:
        """Every test that passes, by its name."""
        ran = {}
        for item in session.items:
            lines: set[tuple[str, int]] = set()
            failed, began = session.testsfailed, time.process_time()
            sys.settrace(trace(set(self.paths), lines))
            run_test(item)
            sys.settrace(None)
            if session.testsfailed == failed:
                ran[item.nodeid] = Ran(time.process_time() - began, lines)
        return ran

    def run_module(self, session: pytest.Session, path: str, ran: dict[str, Ran]) -> None:
        """A sample of a file's mutants, and which of them live."""
        mutants, began = find_mutants(path), time.monotonic()
        draw = random.Random(f"{self.seed} {Path(path).relative_to(ROOT)}")
        sample = sorted(draw.sample(mutants, min(self.count, len(mutants))), key=lambda m: m.line)
        killed, name = 0, Path(path).relative_to(ROOT)
        if not self.lives(
            session, sample[0]._replace(fault=None), self.tests_of(session, path, ran)
        ):
            raise RuntimeError(f"tests of {name} fail without a fault")
        for mutant in sample:
            tests = self.tests_of(session, path, ran, mutant.line)
            if self.lives(session, mutant, tests):
                print(
                    f"  {mutant.line} {mutant.function}: {mutant.what} ({len(tests)} tests)",
                    flush=True,
                )
            else:
                killed += 1
        took = time.monotonic() - began
        print(
            f"{name}: {killed} of {len(sample)} killed (of {len(mutants)}), {took:.0f} s",
            flush=True,
        )

    def tests_of(
        self, session: pytest.Session, path: str, ran: dict[str, Ran], line: int | None = None
    ) -> list[pytest.Item]:
        """Tests that run a file (or a line of it), the quickest first, as many as time allows."""
        chosen, total = [], 0.0
        items = {item.nodeid: item for item in session.items}
        for name in sorted(ran, key=lambda name: ran[name].seconds):
            if any(where == path and line in (None, at) for where, at in ran[name].lines):
                total += ran[name].seconds
                if total > SECONDS:
                    break
                chosen.append(items[name])
        return chosen

    def lives(self, session: pytest.Session, mutant: Mutant, tests: list[pytest.Item]) -> bool:
        """Whether no test fails with it in good time."""

        def passes() -> bool:
            put_in_place(mutant)
            for item in tests:
                run_test(item)
                if session.testsfailed:
                    return False
            return True

        return forked(passes, 60 + 5 * SECONDS) is True


def run_test(item: pytest.Item) -> None:
    """One test, with all its fixtures made and taken down."""
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def main() -> None:
    """Mutate, test, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "modules", nargs="*", default=list(MODULES), metavar="module", help="kernel/blocks ..."
    )
    parser.add_argument("--count", type=int, default=30, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # one thread, as a worker has: forked processes hang in OpenMP's threads
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_XDIST_WORKER": "gw0"}
    files = {name: None for module in options.modules for name in MODULES[module].split()}
    tests = [str(ROOT / "tests" / f"{name}.py") for name in files]
    plugin = Mutation(options.modules, options.count, options.seed)
    sys.exit(pytest.main(["-p", "no:terminal", "-k", MODELS, *tests], plugins=[plugin]))


if __name__ == "__main__":
    main()
