"""Runs CPython's own tests of concurrent.futures on `dask_ferris.Executor`: `python -P -m cpython.run REPORT`.

A process of its own, with the folder `tests` in PYTHONPATH and the folder of the suite in `SUITE`. It writes a report
in JSON: which tests are of other executors, which ran on ours, and how each one ended.
"""

from __future__ import annotations

import concurrent.futures
import faulthandler
import importlib
import json
import pkgutil
import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from cpython import substitute
from gates import WAIT

import dask_ferris

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSED = "passed"

OTHERS = {"FailingInitializerResourcesTest": "ProcessPoolExecutor"}
"""Test cases of another executor that do not name it as their `executor_type`; this one runs tests of others anew."""

# There are no annotations for them.
script_helper: Any = importlib.import_module("test.support.script_helper")
support: Any = importlib.import_module("test.support")


def main(report: str) -> None:
    """Run what is ours of the suite and write the report."""
    script_helper.run_python_until_end = _substituting(script_helper.run_python_until_end)
    tests = list(_flat(_load()))
    others = {_name(test): executor for test in tests if (executor := _whose(test))}
    ours = [test for test in tests if _name(test) not in others]
    content = {
        "others": others,
        "on_executor": [_name(test) for test in ours if hasattr(test, "executor_type")],
        "outcomes": _run(ours),
    }
    Path(report).write_text(json.dumps(content), encoding="utf-8")


def _substituting(run: Callable) -> Callable:
    """Return a function that runs a program with the prelude before it."""

    def run_substituted(*arguments: str, **variables: str):
        *options, flag, source = arguments
        assert flag == "-c", arguments
        return run(*options, flag, substitute.PRELUDE + source, **variables)

    return run_substituted


def _load() -> unittest.TestSuite:
    """Import the tests, which take our Future for the standard library's: they make theirs by hand."""
    name = "test.test_concurrent_futures"
    # Only while they are imported: the process pools of some tests shall have futures of their own.
    with mock.patch.object(concurrent.futures._base, "Future", dask_ferris.Future):
        path = getattr(importlib.import_module(name), "__path__", None)
        names = [name] if path is None else [f"{name}.{found.name}" for found in pkgutil.iter_modules(path)]
        modules = [importlib.import_module(name) for name in names if name.rpartition(".")[2].startswith("test_")]
    return unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromModule(module) for module in modules)


def _flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def _whose(test: unittest.TestCase) -> str | None:
    """Return the name of the other executor that this is a test of; None means that it is ours to pass."""
    executor_type: Any = getattr(test, "executor_type", dask_ferris.Executor)
    if executor_type is not dask_ferris.Executor:
        return executor_type.__name__
    return OTHERS.get(type(test).__name__)


def _name(test: unittest.TestCase) -> str:
    """Return `Class.test`, which is the same for a suite in one file and in a package."""
    return f"{type(test).__name__}.{test._testMethodName}"


def _run(tests: list[unittest.TestCase]) -> dict[str, str]:
    """Run the tests and return how each ended: passed, or a text that says what happened."""
    result = Result()
    unittest.TestSuite(tests).run(result)
    outcomes = {_name(test): "did not run" for test in tests} | dict.fromkeys(result.started, PASSED)
    outcomes |= dict.fromkeys(result.altered, "left threads or processes behind; the warnings on stderr name them")
    outcomes |= {_origin(test): f"skipped: {reason}" for test, reason in result.skipped}
    outcomes |= {_origin(test): "passed unexpectedly" for test in result.unexpectedSuccesses}
    outcomes |= {_origin(test): text for test, text in [*result.failures, *result.errors]}
    return outcomes


def _origin(test: unittest.TestCase) -> str:
    """Return the name of the test, of the test of a subtest, or of whatever unittest reports in place of one."""
    test = getattr(test, "test_case", test)
    return _name(test) if isinstance(test, unittest.TestCase) else test.id()


class Result(unittest.TestResult):
    """Collects what happens, and ends the process with a traceback where a test hangs."""

    def __init__(self) -> None:
        """Start with nothing."""
        super().__init__()
        self.started: list[str] = []
        self.altered: list[str] = []

    def startTest(self, test: unittest.TestCase):  # noqa: N802  the name is unittest's
        """Wind the clock, and say which test it is for."""
        super().startTest(test)
        print(_name(test), flush=True)
        self.started.append(_name(test))
        support.environment_altered = False
        faulthandler.dump_traceback_later(WAIT, exit=True)

    def stopTest(self, test: unittest.TestCase):  # noqa: N802  the name is unittest's
        """Stop the clock, and ask whether CPython's helpers found something left behind."""
        faulthandler.cancel_dump_traceback_later()
        if support.environment_altered:
            self.altered.append(_name(test))
        super().stopTest(test)


if __name__ == "__main__":
    main(*sys.argv[1:])
