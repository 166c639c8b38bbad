"""Where `dask_ferris.get` deliberately differs from `dask.threaded.get`, and why.

A test of the contract body that names a difference runs against both, and Dask's scheduler has to fail it
(a strict xfail): when Dask comes to behave as we do, the suite says so and the entry goes.
"""

from __future__ import annotations

import pytest

DIFFERENCES = {
    "the failing key is named": (
        "An exception of a task carries one note that names the key; dask.threaded gives no hint which task failed."
    ),
    "a cycle nobody asked for is no error": (
        "Only what the requested keys need is looked at; dask.threaded orders the whole graph first and stops at a "
        "cycle in a part that would never run."
    ),
    "values die without the garbage collector": (
        "Values are dropped by reference count at a known point; dask.threaded leaves them in reference cycles of "
        "frames, futures and exceptions until a collection."
    ),
    "a KeyError names what is missing before anything runs": (
        "A requested key that the graph has not is found while compiling; dask.threaded computes all other keys first "
        "and throws their results away."
    ),
    "registrations survive runs that overlap": (
        "A run that claims the callbacks gives them back without undoing what other threads did meanwhile; "
        "dask.threaded puts back the set it found."
    ),
    "no graph is a TypeError": (
        "An object that is no graph is a wrong type of argument; dask.threaded says AttributeError: __dask_graph__."
    ),
}


def differs(name: str) -> pytest.MarkDecorator:
    """Mark a test that `dask.threaded.get` fails for the listed reason."""
    return pytest.mark.stock_differs(name, DIFFERENCES[name])
