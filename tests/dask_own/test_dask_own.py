"""Dask's own tests, as they ship in its wheel, with `dask_ferris.get` in the place of its schedulers."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dask
import pytest
from gates import TEST_TIMEOUT, WAIT
from subprocesses import environment

FOLDER = Path(dask.__file__).parent
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Module:
    """A module of Dask's tests.

    Attributes:
        n_tests: So many pass at least: a run in which hardly anything was collected is a failure.
        n_runs: So often `dask_ferris.get` is called at least.
        deviations: Tests that fail, and why that is right.
        replaced: Names of Dask's schedulers that are replaced besides threads and sync.
    """

    n_tests: int
    n_runs: int
    deviations: dict[str, str] = field(default_factory=dict)
    replaced: str = ""


EXACT_ORDER = "asserts the exact order of `dask.order` on one thread; ours is another, with the same peak of values"
PROCESSES = "gives a pool of processes, which only dask.multiprocessing can use"

MODULES = {
    "tests/test_threaded.py": Module(19, 50),
    "tests/test_local.py": Module(24, 20, {"test_ordering": EXACT_ORDER, "test_complex_ordering": EXACT_ORDER}),
    "tests/test_callbacks.py": Module(5, 5),
    "tests/test_cache.py": Module(4, 4),
    "tests/test_traceback.py": Module(13, 5),
    "tests/test_delayed.py": Module(60, 80),
    # Half of it draws with bokeh, which is not installed.
    "diagnostics/tests/test_profiler.py": Module(9, 20),
    "diagnostics/tests/test_progress.py": Module(11, 10),
    "array/tests/test_array_core.py": Module(500, 1500),
    "bag/tests/test_bag.py": Module(
        180,
        300,
        {"test_temporary_directory": PROCESSES},
        replaced="processes multiprocessing",
    ),
}


def run(name):
    """Run a module in a process of its own and return what it printed."""
    command = [sys.executable, "-P", "-m", "pytest", str(FOLDER / name), "-p", "substitute", "-p", "no:cacheprovider"]
    settings = ["-c", "/dev/null", "--rootdir", str(FOLDER), f"--timeout={WAIT}", "-q", "-rfE", "-W", "ignore"]
    extra = {"PYTHONPATH": str(HERE), "REPLACED": MODULES[name].replaced}
    done = subprocess.run(  # noqa: S603  Dask's own tests
        [*command, *settings],
        capture_output=True,
        check=False,
        env=environment(extra),
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=TEST_TIMEOUT - 10,
    )
    return done.stdout + done.stderr


def number(pattern, text):
    """Return the number that a pattern finds, or 0."""
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    """Everything passes but the deviations listed, and those fail."""
    module = MODULES[name]
    text = run(name)
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*::(\w+)", text, re.MULTILINE))

    assert set(module.deviations) == failed, text[-5000:]
    assert number(r"(\d+) passed", text) >= module.n_tests, text[-5000:]
    assert number(r"runs: (\d+)", text) >= module.n_runs, text[-5000:]
