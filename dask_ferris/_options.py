"""The options of a run: argument, then Dask's config, then default, resolved once and frozen."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dask
import dask.config
import dask.system
import yaml

from dask_ferris import _native
from dask_ferris._arguments import as_choice, as_count, as_flag, as_seconds
from dask_ferris._callbacks import Hooks, as_hooks
from dask_ferris._foreign_pool import StepElsewhere, use_pool
from dask_ferris._memory import as_bytes
from dask_ferris._policy import as_amounts, as_priority, as_retry, as_timeout
from dask_ferris._warn import warn
from dask_ferris.exceptions import PolicyError

if TYPE_CHECKING:
    from types import TracebackType

    from dask_ferris._report import Report

__all__ = ["DEFAULTS", "Options", "resolve", "resolve_strictly"]

# Words of the policy that a later version honours; until then they are errors, never ignored.
_UNAVAILABLE = frozenset(
    {
        "lane",
        "progress",
        "trace",
    }
)

# Names that other libraries give to the same thing.
_OTHER_NAMES = {"max_workers": "num_workers", "n_workers": "num_workers", "nworkers": "num_workers", "retry": "retries"}

# Words of Dask's own schedulers.
_DASKS_OWN = frozenset({"cache", "callbacks", "num_workers", "pool", "raise_exception", "rerun_exceptions_locally"})

# Words of the policy of each task.
_WORDS = {"priority": as_priority, "retries": as_retry, "timeout": as_timeout, "resources": as_amounts}

# Words for the run as a whole.
_RUN_WIDE = frozenset({"deadline", "memory_limit", "on_error", "report"})

_KNOWN = _UNAVAILABLE | _DASKS_OWN | _WORDS.keys() | _RUN_WIDE | {"width"}

_WIDTHS = ("adaptive", "fixed")


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
        words: The words of the policy of each task that were given.
        continues: Go on after a task that failed; its exception takes the place of its value.
        deadline: Seconds that the run may take, or None.
        memory_limit: Bytes that values may take before roots are held back, or None.
        report: Who gets the report, or None.
        num_workers: How many tasks may run at once, at least 1.
        is_fixed: Use all workers whenever there is work for them, whether that pays or not.
        check: Run each task both ways and compare.
        limit_blas: Hold BLAS and OpenMP back while several workers share a run.
        callbacks: The callbacks of this call, or None for those that are active.
        sees_callbacks: Callbacks are active.
        cache: Where values are kept while they are needed, or None for a dict of the run's own.
        executor: The executor of this package on whose threads tasks run, or None.
        step_elsewhere: Lets a thread of the user's pool call the `step` it is given, or None.
        rerun: Run a task that failed once more, in the calling thread.
        raise_exception: Called with the exception of a task and its traceback, or None to raise it.
    """

    words: Mapping[str, Any]
    continues: bool
    deadline: float | None
    memory_limit: int | None
    report: Report | None
    num_workers: int
    is_fixed: bool
    check: bool
    limit_blas: bool
    callbacks: list[Hooks] | None
    sees_callbacks: bool
    cache: MutableMapping[Any, Any] | None
    executor: _native.Executor | None
    step_elsewhere: StepElsewhere | None
    rerun: bool
    raise_exception: Callable[[BaseException, TracebackType | None], object] | None

    @property
    def governing(self) -> list[str]:
        """The words that were given and that only a run whose tasks have policies honours."""
        run_wide = {
            "on_error": self.continues or None,
            "deadline": self.deadline,
            "memory_limit": self.memory_limit,
            "report": self.report,
        }
        return [*self.words, *(word for word, value in run_wide.items() if value is not None)]

    @property
    def is_watched(self) -> bool:
        """Whether callbacks or one of Dask's own options ask for a run that is accounted for step by step."""
        asked = (self.callbacks, self.cache, self.raise_exception)
        is_elsewhere = self.step_elsewhere is not None and self.executor is None
        return self.sees_callbacks or self.rerun or is_elsewhere or any(option is not None for option in asked)


def resolve(given: Mapping[str, Any], sees_callbacks: bool = False) -> Options:  # noqa: FBT001, FBT002 - for native code
    """Resolve the keyword arguments of one call.

    Args:
        given: The keyword arguments, as the caller wrote them.
        sees_callbacks: Whether a callback of Dask is active.

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
    num_workers = _num_workers(given.get("num_workers"))
    callbacks, (where, pool) = given.get("callbacks"), _dasks_own("pool", given)
    size, step_elsewhere = (num_workers, None) if pool is None else use_pool(where, pool, num_workers)
    return Options(
        words={word: check(given[word]) for word, check in _WORDS.items() if given.get(word) is not None},
        continues=as_choice("on_error", given.get("on_error") or "raise", ("raise", "continue")) == "continue",
        deadline=None if given.get("deadline") is None else as_seconds("deadline", given["deadline"]),
        memory_limit=None if given.get("memory_limit") is None else as_bytes("memory_limit", given["memory_limit"]),
        report=_report(given.get("report")),
        num_workers=size,
        is_fixed=_is_fixed(given, section),
        check=_flag_of("check", section),
        limit_blas=_flag_of("limit_blas", section),
        callbacks=None if callbacks is None else as_hooks(callbacks),
        sees_callbacks=sees_callbacks and callbacks is None,
        cache=_cache(*_dasks_own("cache", given)),
        executor=pool if isinstance(pool, _native.Executor) else None,
        step_elsewhere=step_elsewhere,
        rerun=_rerun(*_dasks_own("rerun_exceptions_locally", given)),
        raise_exception=_raise_exception(given.get("raise_exception")),
    )


def resolve_strictly(name: str, given: Mapping[str, Any], *also: str) -> Options:
    """Resolve the keyword arguments of a function of this package, which ignores none.

    Args:
        name: The function.
        given: The keyword arguments, as the caller wrote them.
        *also: Keywords that it takes beside these.

    Raises:
        TypeError: A keyword is not known.
        Exception: As of `resolve`.
    """
    allowed = _WORDS.keys() | _RUN_WIDE | {"num_workers", "pool"}
    for word in given.keys() - allowed - _UNAVAILABLE:
        msg = f"{name}() got an unexpected keyword {word!r}; allowed are {', '.join(sorted(allowed.union(also)))}"
        raise TypeError(msg)
    if given.get("pool") is not None and given.get("num_workers") is not None:
        msg = f"num_workers={given['num_workers']!r} can not be honoured: the number of workers is that of the pool"
        raise PolicyError(msg)
    return resolve(given)


def _dasks_own(name: str, given: Mapping[str, Any]) -> tuple[str, Any]:
    """Return where an option was set, and to what: the argument, else Dask's config."""
    if given.get(name) is not None:
        return name, given[name]
    return f"the config key {name!r}", dask.config.get(name, None)


def _cache(where: str, cache: Any) -> MutableMapping[Any, Any] | None:
    needed = ("__getitem__", "__setitem__", "__contains__", "__len__", "keys", "pop")
    if cache is not None and not all(hasattr(cache, name) for name in needed):
        msg = f"{where} must be a mutable mapping, not {cache!r} of type {type(cache).__name__}"
        raise TypeError(msg)
    return cast("MutableMapping[Any, Any] | None", cache)


def _is_fixed(given: Mapping[str, Any], section: Mapping[str, Any]) -> bool:
    where, value = "width", given.get("width")
    if value is None:
        where, value = "the config key 'ferris.width'", section.get("width", DEFAULTS["width"])
    return as_choice(where, value, _WIDTHS) == "fixed"


def _flag_of(name: str, section: Mapping[str, Any]) -> bool:
    key = name.replace("_", "-")
    return as_flag(f"the config key 'ferris.{key}'", section.get(name, DEFAULTS[key]))


def _rerun(where: str, value: object) -> bool:
    return value is not None and as_flag(where, value)


def _report(report: Any) -> Report | None:
    if report is None or callable(report) or isinstance(report, (str, Path)):
        return cast("Report | None", report)
    msg = f"report must be a function of a RunReport, or the path of a file, not {report!r}"
    raise TypeError(msg)


def _raise_exception(function: Any) -> Any:
    if function is not None and not callable(function):
        msg = f"raise_exception must be a function of an exception and a traceback, not {function!r}"
        raise TypeError(msg)
    return function


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


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """What the config says about executors.

    Attributes:
        priority_aging: Seconds after which a task that waits counts one level higher, 0 for never.
        max_spare_threads: Threads that may stand in for workers which wait.
        max_abandoned_threads: Threads that may be stuck in tasks whose time was up.
        resources: How much there is of each resource.
    """

    priority_aging: float
    max_spare_threads: int
    max_abandoned_threads: int
    resources: Mapping[str, float]


def executor_config() -> ExecutorConfig:
    """Return what the config says about executors."""
    section = _section()
    _warn_of_unknown_keys(section)

    def value(name: str) -> tuple[str, Any]:
        return f"the config key 'ferris.{name}'", section.get(name.replace("-", "_"), DEFAULTS[name])

    return ExecutorConfig(
        priority_aging=as_seconds(*value("priority-aging"), zero=True),
        max_spare_threads=as_count(*value("max-spare-threads"), least=0),
        max_abandoned_threads=as_count(*value("max-abandoned-threads"), least=0),
        resources=as_amounts(value("resources")[1]),
    )


def _num_workers(argument: object) -> int:
    where, value = "num_workers", argument
    if value is None:
        where, value = "the config key 'num_workers'", dask.config.get("num_workers", None)
    if value is None:
        return int(dask.system.CPU_COUNT)
    return as_count(where, value)
