"""Dask's own tests for foreign `get` functions."""

from __future__ import annotations

from dask.utils_test import GetFunctionTestMixin

import dask_ferris


class TestGet(GetFunctionTestMixin):
    """The ten tests that ship with Dask."""

    get = staticmethod(dask_ferris.get)
