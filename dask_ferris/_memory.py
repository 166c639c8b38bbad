"""The memory of this process, and submitters that wait for it to become less."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import dask.utils

from dask_ferris._arguments import as_real
from dask_ferris.exceptions import QueueFullError

if TYPE_CHECKING:
    import weakref

__all__ = ["MemoryGate", "as_bytes", "process_memory"]

# How often a submitter that waits looks at the memory. Guessed: a look takes some 20 us.
_BETWEEN_LOOKS = 0.01


def process_memory() -> int:
    """Return the resident memory of this process, in bytes."""
    import psutil  # noqa: PLC0415  only where it is used

    return int(psutil.Process().memory_info().rss)


def as_bytes(where: str, value: object) -> int:
    """Return a number of bytes, given as a number or as a text like "4 GB".

    Raises:
        TypeError: It is neither.
        ValueError: It is not a number of bytes, or negative.
    """
    number = _parse(where, value) if isinstance(value, str) else int(as_real(where, value))
    if number < 0:
        msg = f"{where} must be at least 0, not {value!r}"
        raise ValueError(msg)
    return min(number, sys.maxsize)  # there is no more memory


def _parse(where: str, text: str) -> int:
    try:
        return dask.utils.parse_bytes(text if any(map(str.isdigit, text)) else f"no number: {text}")
    except ValueError as error:
        msg = f"{where} must be a number of bytes, or a text like '4 GB', not {text!r}"
        raise ValueError(msg) from error


class MemoryGate:
    """Lets submitters pass while the process has no more memory than a limit, or the executor nothing to do.

    The executor is held by a weak reference: it holds the gate.
    """

    def __init__(self, executor: weakref.ref[Any], limit: object, *, raises: bool) -> None:
        """Take the limit of `executor`; with `raises`, nobody waits."""
        self._executor = executor
        self._limit = as_bytes("memory_limit", limit)
        self._raises = raises

    def __call__(self, is_worker: bool) -> None:  # noqa: FBT001  called by native code
        """Wait until a task may pass.

        Args:
            is_worker: Whether this thread is one of the executor's, on which its memory may depend: it does not wait.

        Raises:
            QueueFullError: There is no memory, and the submitter is not to wait.
        """
        while self._is_full():
            if self._raises or is_worker:
                msg = f"the process has more than memory_limit={self._limit} bytes of resident memory"
                raise QueueFullError(msg)
            time.sleep(_BETWEEN_LOOKS)

    def _is_full(self) -> bool:
        executor = self._executor()
        if executor is None or not executor.is_active() or process_memory() <= self._limit:
            return False
        active, queued, *_ = executor._count()  # noqa: SLF001  a part of it
        return bool(active + queued)
