"""What every test shares: the deadlock guard, warnings as errors, and the two sizes of the random tests."""

from __future__ import annotations

import gc
import os
import random
from typing import TYPE_CHECKING

import pytest
from gates import TEST_TIMEOUT
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONG = os.environ.get("FERRIS_LONG", "") == "1"

# Bounded: the same examples in every run, so that only a change of the code can turn a run red.
# Long: fresh examples in every run; a failure prints its seed and a blob for @reproduce_failure.
# No deadline in either: durations are not tested. Slow data generation is no finding on a busy machine.
settings.register_profile(
    "bounded",
    max_examples=150,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    max_examples=3000,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("long" if LONG else "bounded")


def pytest_configure(config: pytest.Config) -> None:
    """Make warnings errors and name our marker."""
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("markers", "stock_differs(name): dask.threaded.get fails this; see contract/differences.py")


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Guard each test against a deadlock; the long form of one has twenty times the examples.

    The method is "thread", because a signal is not noticed by a main thread that hangs in native code.
    """
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT * (20 if LONG else 1), method="thread"))


@pytest.fixture
def rng() -> random.Random:
    """Return a random generator whose seed is printed, and read from FERRIS_SEED.

    The bounded suite uses the same seed in every run, the long one a fresh one.
    """
    default = random.SystemRandom().randrange(2**32) if LONG else 20130101
    seed = int(os.environ.get("FERRIS_SEED", default))
    print(f"FERRIS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def n_rounds() -> int:
    """Return how many rounds a stress test makes."""
    return 200 if LONG else 5


@pytest.fixture
def without_gc() -> Iterator[None]:
    """Keep the garbage collector out, so that what is seen to go went by reference count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
