"""A plugin of pytest that puts `dask_ferris.get` in the place of Dask's own schedulers, for Dask's own tests.

Loaded with ``-p substitute`` in a process of its own, before any test module: the collections take their default
scheduler from Dask's table of names when they are imported. Dask's sync scheduler is replaced, too, as most tests of
collections compute with it. `REPLACED` in the environment names what else is.
"""

from __future__ import annotations

import os
import sys

import dask
import dask.base
import dask.local
import dask.threaded
from dask.delayed import Delayed

import dask_ferris

NAMES = ["threads", "threading", "sync", "synchronous", "single-threaded", *os.environ.get("REPLACED", "").split()]

for name in NAMES:
    dask.base.named_schedulers[name] = dask_ferris.get
# dask.delayed, the module, is hidden behind the function of that name, and was imported by `import dask`.
PLACES = ((dask.threaded, "get"), (dask.local, "get_sync"), (dask, "get"), (sys.modules["dask.delayed"], "DEFAULT_GET"))

for module, attribute in PLACES:
    setattr(module, attribute, dask_ferris.get)
Delayed.__dask_scheduler__ = staticmethod(dask_ferris.get)


def pytest_addoption(parser):
    """Know the option of Dask's own configuration."""
    parser.addoption("--runslow", action="store_true")


def pytest_configure(config):
    """Know the marks of Dask's own configuration."""
    for mark in ("array_expr", "gpu", "network", "skip_with_pyarrow_strings", "slow", "xfail_with_pyarrow_strings"):
        config.addinivalue_line("markers", f"{mark}: one of Dask's own")


def pytest_terminal_summary(terminalreporter):
    """Say how often the substitute was called."""
    terminalreporter.write_line(f"runs: {dask_ferris.statistics().n_runs}")
