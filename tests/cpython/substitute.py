"""Puts `dask_ferris.Executor` in the place of the standard library's, for CPython's own tests; importing it does so.

It is imported before the tests, and again in each program that they run, which says
``from concurrent.futures import ThreadPoolExecutor``, or whatever the name of the class under test is: here Executor.
`SUITE` in the environment names the folder that holds the tests, which need not be the interpreter's.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
from pathlib import Path

import dask_ferris

PRELUDE = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); import cpython.substitute\n"
"""What such a program starts with: Python runs it isolated, without PYTHONPATH."""

for name in ("ThreadPoolExecutor", "Executor"):
    setattr(concurrent.futures, name, dask_ferris.Executor)

# Last, so that the interpreter's own test.support is found first.
importlib.import_module("test").__path__.append(os.environ["SUITE"])
