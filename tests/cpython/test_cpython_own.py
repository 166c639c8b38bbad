"""CPython's own tests of concurrent.futures, with `dask_ferris.Executor` in the place of ThreadPoolExecutor."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import dask.system
import pytest
from cpython import suite
from gates import TEST_TIMEOUT
from subprocesses import environment

# The first test waits for a download and for the whole suite.
pytestmark = pytest.mark.timeout(2 * TEST_TIMEOUT, method="thread")

N_TESTS = 30
"""So many pass on our Executor at least: a run in which hardly anything was collected is a failure."""

OTHERS = {"ProcessPoolExecutor", "InterpreterPoolExecutor"}
"""Executors whose tests are in the suite as well, and are not run: ours has threads."""

DEFAULT_WORKERS = "ThreadPoolExecutorTest.test_default_workers"

INAPPLICABLE = {
    DEFAULT_WORKERS: "expects min(32, CPUs + 4), for threads that mostly wait; our default is usable CPUs (ruling C9)",
    "ThreadPoolShutdownTest.test_submit_after_interpreter_shutdown": (
        "looks for the name RuntimeError on stderr; ours is called PoolClosedError, a subclass"
    ),
}
"""Tests that fail, and why that is right."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Run the suite in a process of its own and return its report; skip where there is no suite for this Python."""
    try:
        tests = suite.find(tmp_path_factory.mktemp("suite"))
    except suite.NoSuiteError as error:
        pytest.skip(f"CPython {platform.python_version()}: no suite to be had: {error}")
    folder = tmp_path_factory.mktemp("run")
    status = run(tests, folder)
    text = f"{tests} ended with status {status}\n{(folder / 'output').read_text(encoding='utf-8')[-10000:]}"
    print(text)
    assert (folder / "report.json").is_file(), text
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def run(tests, folder):
    """Run the tests with what they write in the folder, and return the status; what they started ends with them."""
    with (folder / "output").open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "cpython.run", "report.json"],
            cwd=folder,
            env=environment({"PYTHONPATH": str(Path(__file__).parents[1]), "SUITE": str(tests)}),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(TEST_TIMEOUT - 10)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        return child.wait()


def passed(report):
    """Return the tests that passed; a skipped one did not."""
    return {name for name, outcome in report["outcomes"].items() if outcome == "passed"}


def inapplicable():
    """Return the tests that fail on this machine: where 32 CPUs are usable, the two defaults are one number."""
    same = concurrent.futures.ThreadPoolExecutor()._max_workers == dask.system.CPU_COUNT
    return INAPPLICABLE.keys() - ({DEFAULT_WORKERS} if same else set())


def test_applicable_tests_pass(report):
    """Everything passes but the tests listed as inapplicable."""
    failed = report["outcomes"].keys() - passed(report) - INAPPLICABLE.keys()

    assert set() == failed, "\n".join(f"{name}: {report['outcomes'][name]}" for name in sorted(failed))


def test_inapplicable_tests_fail(report):
    """What is listed as inapplicable fails; an entry that passes is no longer needed."""
    assert set() == inapplicable() & passed(report), "no longer needed"


def test_enough_tests_run(report):
    """The suite was found with our Executor in it: enough tests pass on ours, and only known others are left out."""
    assert N_TESTS <= len(passed(report) & set(report["on_executor"])), report
    assert OTHERS >= set(report["others"].values()), report["others"]
