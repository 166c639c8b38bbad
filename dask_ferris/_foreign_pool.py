"""A pool of the user's as the place where tasks are computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["StepElsewhere", "Steps", "use_pool"]


class Steps(Protocol):
    """What computes one task that was given out each time it is asked."""

    def step(self) -> None:
        """Compute one task on this thread."""

    def lose(self, error: BaseException) -> None:
        """Let one task fail, because nobody can compute it."""


StepElsewhere = Callable[[Steps], object]


def use_pool(where: str, pool: Any, num_workers: int) -> tuple[int, StepElsewhere]:
    """Return how many tasks a pool runs at once, and what makes it compute one.

    Args:
        where: What the user calls the pool.
        pool: A `concurrent.futures.Executor`, or a pool of `multiprocessing.pool`, whose workers are threads.
        num_workers: The number where the pool does not tell its own.

    Raises:
        TypeError: The pool is neither.
    """
    if callable(getattr(pool, "submit", None)):
        return getattr(pool, "_max_workers", num_workers), partial(_submit, pool)
    if callable(getattr(pool, "apply_async", None)):
        return len(getattr(pool, "_pool", range(num_workers))), partial(_apply, pool)
    msg = f"{where} must be an executor or a pool of threads, not {pool!r} of type {type(pool).__name__}"
    raise TypeError(msg)


def _submit(pool: Any, steps: Steps) -> None:
    pool.submit(steps.step).add_done_callback(partial(_pass_on, steps))


def _pass_on(steps: Steps, future: Future[None]) -> None:
    """Let a task fail whose step was cancelled or could not be sent."""
    try:
        future.result()
    except BaseException as error:  # noqa: BLE001  whatever it is, the run is to end with it
        steps.lose(error)


def _apply(pool: Any, steps: Steps) -> None:
    pool.apply_async(steps.step, error_callback=steps.lose)
