"""The exceptions and warnings of `dask_ferris`.

`FerrisError` is the base of all exceptions.  Each is also the standard library's, or Dask's, exception for its
case, so that handlers which know nothing of this package keep working.  Each docstring says whose fault it is.
"""

from __future__ import annotations

import queue
from concurrent.futures import process, thread

__all__ = [
    "BrokenPoolError",
    "CycleError",
    "FerrisError",
    "FerrisWarning",
    "GraphError",
    "InternalError",
    "MissingDependencyError",
    "MissingKeyError",
    "PolicyError",
    "PoolClosedError",
    "QueueFullError",
    "TaskTimeoutError",
    "UpstreamFailedError",
]


class FerrisError(Exception):
    """Base of all exceptions that this package raises itself."""


class GraphError(FerrisError, ValueError):
    """A graph cannot be used: a node of it could not be read. The graph's fault."""


class MissingDependencyError(GraphError):
    """A task that is needed depends on a key that the graph does not have. The graph's fault."""


class CycleError(FerrisError, RuntimeError):
    """Tasks depend on each other in a circle, which the message names. The graph's fault."""


class MissingKeyError(FerrisError, KeyError):
    """The graph does not have a key that was asked for. The caller's fault."""

    def __str__(self) -> str:
        """Return the message as it is; `KeyError` would return its `repr`."""
        return str(self.args[0]) if len(self.args) == 1 else Exception.__str__(self)


class PolicyError(FerrisError, ValueError):
    """A policy that cannot be honoured: an option that is not available. The caller's fault."""


class TaskTimeoutError(FerrisError, TimeoutError):
    """One attempt at a task has taken longer than its limit. The task's fault, or the limit's."""


class UpstreamFailedError(FerrisError):
    """A task of a graph was not run, because one that it needs has failed. Its ``__cause__`` is that one's error."""


class PoolClosedError(FerrisError, RuntimeError):
    """A task was submitted to an executor that was shut down. The caller's fault."""


class BrokenPoolError(FerrisError, thread.BrokenThreadPool, process.BrokenProcessPool):
    """An executor can not go on: its initializer failed, or too many of its threads do not come back."""


class QueueFullError(FerrisError, queue.Full):
    """As many tasks wait as an executor allows, and this one would have had to wait to be one of them."""


class InternalError(FerrisError):
    """Something that cannot happen has happened. Our fault: please report it."""


class FerrisWarning(UserWarning):
    """Something was accepted but has less effect than its author may think."""
