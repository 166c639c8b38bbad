"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import dask

from dask_ferris.exceptions import FerrisWarning

__all__ = ["warn"]

# Code in these folders stands between the user and a warning of ours.
_OURS = tuple(f"{Path(file).parent}/" for file in (__file__, dask.__file__))


def warn(message: str) -> None:
    """Issue a `FerrisWarning` at the innermost line that is neither Dask's nor ours."""
    level = 1
    frame = sys._getframe()  # noqa: SLF001  `inspect.currentframe` is the same, and imports half the library
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
        level += 1
    warnings.warn(message, FerrisWarning, stacklevel=level)
