"""The schedulers that the one contract body runs against."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.threaded
import pytest

import dask_ferris

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SCHEDULERS: dict[str, Callable[..., Any]] = {
    "threaded": dask.threaded.get,
    "ferris": dask_ferris.get,
    # One worker is the calling thread alone; four are more than the smallest machine has cores.
    "ferris-1": partial(dask_ferris.get, num_workers=1),
    "ferris-4": partial(dask_ferris.get, num_workers=4),
}


@pytest.fixture(params=list(SCHEDULERS))
def get(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return one of the schedulers under the contract."""
    return SCHEDULERS[request.param]


@pytest.fixture(params=["threaded", "ferris"])
def plain_get(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return one of the two bare functions, for tests that choose the workers or need a function's identity."""
    return SCHEDULERS[request.param]


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Expect Dask's scheduler to fail where a difference is listed."""
    for item in items:
        difference = item.get_closest_marker("stock_differs")
        if difference is not None and _scheduler_name(item) == "threaded":
            item.add_marker(pytest.mark.xfail(strict=True, reason=difference.args[1]))


def _scheduler_name(item: pytest.Item) -> str | None:
    """Return the name of the scheduler this test was made for."""
    parameters = getattr(item, "callspec", None)
    if parameters is None:
        return None
    return parameters.params.get("get", parameters.params.get("plain_get"))
