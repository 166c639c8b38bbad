"""Warnings that point at the user's own line."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import dask

from dask_ferris.exceptions import FerrisWarning

__all__ = ["warn"]

# Code in these folders stands between the user and a warning of ours.
_OURS = tuple(f"{Path(file).parent}/" for file in (__file__, dask.__file__))


def warn(message: str) -> None:
    """Issue a `FerrisWarning` at the innermost line that is neither Dask's nor ours."""
    level = 0
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
        level += 1
    warnings.warn(message, FerrisWarning, stacklevel=level + 1)
