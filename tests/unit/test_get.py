"""The function `get` as an object: what else programs do with a function but call it."""

from __future__ import annotations

import copy
import inspect
import pickle

import cloudpickle
import dask

import dask_ferris


def test_it_can_be_pickled_and_copied():
    """It travels by name, as the functions of Dask do."""
    assert dask_ferris.get is pickle.loads(pickle.dumps(dask_ferris.get))  # noqa: S301  our own bytes
    assert dask_ferris.get is cloudpickle.loads(cloudpickle.dumps(dask_ferris.get))
    assert dask_ferris.get is copy.deepcopy(dask_ferris.get)


def test_it_explains_itself():
    """It has a name, a signature and a docstring that names its options and errors."""
    assert "get" == dask_ferris.get.__name__
    assert ["dsk", "keys", "options"] == list(inspect.signature(dask_ferris.get).parameters)
    documentation = inspect.getdoc(dask_ferris.get)
    assert documentation is not None
    assert all(word in documentation for word in ["num_workers", "MissingKeyError", "CycleError", "PolicyError"])


def test_it_is_a_scheduler_for_dask():
    """Dask takes it for a scheduler without looking further, and finds no `persist` of its own."""
    assert dask_ferris.get is dask.base.get_scheduler(scheduler=dask_ferris.get)
    assert not hasattr(dask_ferris.get, "persist")
