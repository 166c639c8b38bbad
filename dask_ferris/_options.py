"""The options of a run: argument, then Dask's config, then default, resolved once and frozen."""

from __future__ import annotations

import difflib
import operator
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import dask
import dask.config
import dask.system
import yaml

from dask_ferris._warn import warn
from dask_ferris.exceptions import PolicyError

__all__ = ["DEFAULTS", "Options", "resolve"]

# Words of the policy that a later version honours; until then they are errors, never ignored.
_UNAVAILABLE = frozenset(
    {
        "deadline",
        "lane",
        "memory_limit",
        "on_error",
        "priority",
        "progress",
        "report",
        "resources",
        "retries",
        "timeout",
        "trace",
        "width",
    }
)

# Dask's own options, with what they are when nobody has set them.
_DASKS_OWN = {
    "callbacks": None,
    "cache": None,
    "pool": None,
    "rerun_exceptions_locally": None,
    "raise_exception": None,
}

# Those of Dask's own options that it reads from its config, too.
_DASKS_CONFIG = ("cache", "pool", "rerun_exceptions_locally")

# Names that other libraries give to the same thing.
_OTHER_NAMES = {"max_workers": "num_workers", "n_workers": "num_workers", "nworkers": "num_workers", "retry": "retries"}

_KNOWN = _UNAVAILABLE | _DASKS_OWN.keys() | {"num_workers"}


def _load_defaults() -> dict[str, Any]:
    text = (Path(__file__).parent / "ferris.yaml").read_text(encoding="utf-8")
    defaults: dict[str, Any] = yaml.safe_load(text)
    return defaults


_CONFIG = _load_defaults()
dask.config.update_defaults(_CONFIG)

#: The section ``ferris`` of Dask's config when nothing in it was set.
DEFAULTS: dict[str, Any] = _CONFIG["ferris"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a graph is to be run.

    Attributes:
        num_workers: How many tasks may run at once, at least 1.
        check: Run each task both ways and compare.
        hand_over: Leave the whole call to `dask.threaded.get`.
    """

    num_workers: int
    check: bool
    hand_over: bool


def resolve(given: Mapping[str, Any]) -> Options:
    """Resolve the keyword arguments of one call.

    Args:
        given: The keyword arguments, as the caller wrote them.

    Returns:
        The options of the run.

    Raises:
        PolicyError: An option that is not available yet.
        TypeError: An option of the wrong type.
        ValueError: An option out of range.
    """
    _refuse_unavailable(given)
    _warn_of_misspelt(given)
    section = _section()
    _warn_of_unknown_keys(section)
    return Options(
        num_workers=_num_workers(given.get("num_workers")),
        check=_flag("ferris.check", section.get("check", DEFAULTS["check"])),
        hand_over=_is_dasks(given),
    )


def _refuse_unavailable(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in _UNAVAILABLE:
            msg = f"the option {name}={value!r} is not available in this version of dask_ferris"
            raise PolicyError(msg)


def _warn_of_misspelt(given: Mapping[str, Any]) -> None:
    for name in given.keys() - _KNOWN:
        close = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.8)
        for meant in [_OTHER_NAMES[name]] if name in _OTHER_NAMES else close:
            msg = f"the option {name!r} is not known and has no effect; did you mean {meant!r}?"
            warn(msg)


def _section() -> Mapping[str, Any]:
    section = dask.config.get("ferris", {})
    if not isinstance(section, Mapping):
        msg = f"the config key 'ferris' holds {section!r}; it must be a mapping"
        raise TypeError(msg)
    return {str(name).replace("-", "_"): value for name, value in section.items()}


def _warn_of_unknown_keys(section: Mapping[str, Any]) -> None:
    known = {name.replace("-", "_") for name in DEFAULTS}
    for name in section.keys() - known - _warned_of:
        _warned_of.add(name)
        allowed = ", ".join(f"ferris.{key}" for key in sorted(DEFAULTS))
        msg = f"the config key 'ferris.{name}' is not known and has no effect; known are {allowed}"
        warn(msg)


_warned_of: set[str] = set()


def _num_workers(argument: object) -> int:
    where, value = "num_workers", argument
    if value is None:
        where, value = "the config key 'num_workers'", dask.config.get("num_workers", None)
    if value is None:
        return int(dask.system.CPU_COUNT)
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        msg = f"{where} must be an int, not {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    number = operator.index(value)
    if number < 1:
        msg = f"{where} must be at least 1, not {value!r}"
        raise ValueError(msg)
    return min(number, sys.maxsize)  # more workers than there can be tasks are as good as any larger number


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        msg = f"the config key {where!r} must be true or false, not {value!r}"
        raise TypeError(msg)
    return value


def _is_dasks(given: Mapping[str, Any]) -> bool:
    """Tell whether an option asks for what only Dask's own scheduler does so far."""
    if any(given.get(name) is not None for name in _DASKS_OWN):
        return True
    return any(dask.config.get(name, None) not in (None, False) for name in _DASKS_CONFIG)
