"""What users give, checked where they give it."""

from __future__ import annotations

import math
import numbers
import operator
import sys
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_callable", "as_choice", "as_count", "as_flag", "as_limit", "as_real", "as_seconds", "as_text"]


def as_count(where: str, value: object, least: int = 1) -> int:
    """Return a whole number that is at least `least`.

    Args:
        where: What the user calls it.
        value: What the user gave.
        least: The smallest that is allowed.

    Raises:
        TypeError: It is not a whole number, or a bool.
        ValueError: It is too small.
    """
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        msg = f"{where} must be an int, not {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    number = operator.index(value)
    if number < least:
        # For 1 in the words of the standard library.
        limit = "greater than 0" if least == 1 else f"at least {least}"
        msg = f"{where} must be {limit}, not {value!r}"
        raise ValueError(msg)
    return min(number, sys.maxsize)  # there can not be more of anything that is counted here


def as_real(where: str, value: object) -> float | int:
    """Return a finite number, whole numbers as they are.

    Raises:
        TypeError: It is not a real number, or a bool.
        ValueError: It is infinite or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{where} must be a number, not {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    number = operator.index(value) if isinstance(value, SupportsIndex) else float(value)
    if isinstance(number, float) and not math.isfinite(number):
        msg = f"{where} must be finite, not {value!r}"
        raise ValueError(msg)
    return number


def as_seconds(where: str, value: object, *, zero: bool = False) -> float:
    """Return a finite time in seconds, greater than zero or, with `zero`, not less.

    Raises:
        TypeError: It is not a real number, or a bool.
        ValueError: It is out of range.
    """
    seconds = float(as_real(where, value))
    if seconds < 0 or (seconds == 0 and not zero):
        limit = "at least 0" if zero else "greater than 0"
        msg = f"{where} must be {limit}, not {value!r}"
        raise ValueError(msg)
    return seconds


def as_limit(where: str, value: object) -> float | None:
    """Return how long something may be waited for, in seconds: any number but nan, or None for ever.

    Raises:
        TypeError: It is not a real number, or a bool.
        ValueError: It is not a number.
    """
    if value is None or (isinstance(value, float) and math.isinf(value) and value > 0):
        return None
    return float(as_real(where, value))


def as_flag(where: str, value: object) -> bool:
    """Return true or false.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(value, bool):
        msg = f"{where} must be true or false, not {value!r}"
        raise TypeError(msg)
    return value


def as_text(where: str, value: object) -> str:
    """Return a text.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, str):
        msg = f"{where} must be a str, not {value!r}"
        raise TypeError(msg)
    return value


def as_choice(where: str, value: object, choices: Sequence[str]) -> str:
    """Return one of several texts.

    Raises:
        TypeError: It is not a text.
        ValueError: It is another one.
    """
    if isinstance(value, str) and value in choices:
        return value
    msg = f"{where} must be one of {', '.join(map(repr, choices))}, not {value!r}"
    raise ValueError(msg) if isinstance(value, str) else TypeError(msg)


def as_callable(where: str, value: Any) -> Any:
    """Return something that can be called.

    Raises:
        TypeError: It can not.
    """
    if not callable(value):
        msg = f"{where} must be a callable, not {value!r}"
        raise TypeError(msg)
    return value
