"""The threads of BLAS and OpenMP beside ours: together no more than there are cores.

Each worker of a run that several share enters here once it has worked for some milliseconds, and all of them leave
when the run is done. While there are any, the libraries may use the cores divided by the workers. What they were set
to before is never raised, and is put back when the last one leaves.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import dask.system

__all__ = ["enter", "forget_workers", "leave"]

# Packages that bring a library with threads of its own. Others that do are not noticed.
_BRINGERS = ("numpy", "scipy", "mkl", "numexpr", "sklearn", "torch", "xgboost", "lightgbm", "cv2")

_lock = threading.Lock()
_n_workers = 0
_libraries: list[Any] = []
_loaded: frozenset[str] = frozenset()
# What the libraries were set to before, by path: for the process, and for each thread where a library has it so.
_before: dict[str, int] = {}
_own = threading.local()


def enter() -> None:
    """Count the calling thread as a worker."""
    global _n_workers  # noqa: PLW0603  a count of the process
    with _lock:
        _n_workers += 1
        _find_libraries()
        _limit()


def leave(n_workers: int) -> None:
    """Count workers out again: all those of a run at once, when it is over."""
    global _n_workers  # noqa: PLW0603  a count of the process
    with _lock:
        _n_workers -= n_workers
        _limit()
        if _n_workers == 0:
            _before.clear()
            _own.__dict__.clear()


def forget_workers() -> None:
    """Count all workers out in the child of a fork, which has none of them; one may have held the lock."""
    global _lock  # noqa: PLW0603  a lock of the process
    _lock = threading.Lock()
    if _n_workers > 0:  # to set a number, even the same, may start the threads of BLAS anew
        leave(_n_workers)


def _limit() -> None:
    share = max(1, dask.system.CPU_COUNT // max(1, _n_workers))
    for library in _libraries:
        before = _store_of(library).setdefault(library.filepath, library.num_threads)
        _set(library, before if _n_workers == 0 else min(before, share))


def _store_of(library: Any) -> dict[str, int]:
    """Where the number of a library is kept: OpenMP has one for each thread."""
    is_of_thread = "openmp" in {library.user_api, getattr(library, "threading_layer", None)}
    return _own.__dict__ if is_of_thread else _before


def _set(library: Any, n_threads: int) -> None:
    # threadpoolctl lets the thread that was first have the say over OpenBLAS from then on. The workers of a run are
    # many, and the say is the user's.
    set_num_threads = getattr(library, "_real_set_num_threads", library.set_num_threads)
    set_num_threads(n_threads)


def _find_libraries() -> None:
    """Look for libraries, if a package that brings one has been imported since this was last done."""
    global _loaded, _libraries
    loaded = frozenset(name for name in _BRINGERS if name in sys.modules)
    if loaded != _loaded:
        # Imported only here, as it takes as long as a small run; it has no annotations.
        from threadpoolctl import ThreadpoolController  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

        _libraries, _loaded = ThreadpoolController().lib_controllers, loaded
