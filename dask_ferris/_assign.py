"""Which policy each task of a graph has: annotation over ambient annotation over keyword over config over default."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask

from dask_ferris import _appends, _recover
from dask_ferris._arguments import as_flag
from dask_ferris._policy import Policy, Retry, as_amounts, as_priority, as_retry, as_timeout
from dask_ferris._warn import warn
from dask_ferris.exceptions import PolicyError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping

    from dask.typing import Key

    from dask_ferris._recover import Notes

__all__ = ["WORDS", "Assigned", "assign", "is_strict", "merge", "words_of"]

#: The words of a policy that tasks of a graph can have.
WORDS = ("priority", "retries", "timeout", "resources")

#: Those that schedulers of a cluster know and a local one has no use for.
_FOR_CLUSTERS = frozenset({"allow_other_workers", "workers"})

#: That of a task of a graph that asks for nothing, as in `distributed`.
DEFAULT = Policy(priority=0)

_CHECKS = {"priority": as_priority, "retries": as_retry, "timeout": as_timeout, "resources": as_amounts}


def words_of(policy: Policy, but: str = "") -> dict[str, Any]:
    """Return what a policy asks for, but for one word."""
    words = {
        "priority": policy.priority,
        "retries": policy.retry,
        "timeout": policy.timeout,
        "resources": policy.resources,
    }
    return {word: value for word, value in words.items() if value and word != but}


@dataclass
class Assigned:
    """The policies of the tasks of one graph.

    Attributes:
        policies: Each policy that occurs; the first is that of every task that is not among the keys.
        keys: The position of its policy for each key that has another one.
        merged: For the keys of tasks that were fused of calls which asked for different things, what they asked for.
        is_annotated: Whether an annotation asks for something.
    """

    policies: list[Policy]
    keys: dict[Key, int] = field(default_factory=dict)
    merged: dict[Key, Notes] = field(default_factory=dict)
    is_annotated: bool = False

    def honoured(self, numbers: Iterable[int]) -> dict[str, int]:
        """Return how many tasks have each word.

        Args:
            numbers: How many tasks have each of the policies.
        """
        words: Counter[str] = Counter()
        for policy, number in zip(self.policies, numbers, strict=True):
            words.update(dict.fromkeys(words_of(policy), number))
        return dict(+words)

    @property
    def is_plain(self) -> bool:
        """Whether no task asks for anything."""
        return not self.keys and self.policies == [DEFAULT]


def assign(
    graph: Mapping[Key, Any], notes: Mapping[Key, Notes], given: Mapping[str, Any], resources: Collection[str]
) -> Assigned:
    """Give each task of a graph its policy.

    Args:
        graph: All tasks.
        notes: What the annotations of tasks ask for.
        given: The words of the policy that this call was given.
        resources: The names of the resources that there are.

    Returns:
        The policies.

    Raises:
        PolicyError: A word of an annotation is not known, or has a value that is not allowed.
    """
    ambient = {word: value for word, value in dask.get_annotations().items() if word in _recover.WORDS}
    functions = {word: ambient.pop(word) for word in list(ambient) if callable(ambient[word])}
    if functions:
        notes = _with_functions(graph, notes, functions)
    base = {**given, **_checked("the annotation of this call", ambient, resources)}
    known = _Known()
    known.position_of(_policy(base))
    assigned = Assigned(known.policies, is_annotated=bool(notes or ambient))
    if base.get("retries"):
        notes = {**notes, **{key: _once(notes.get(key, ({},))) for key in _appends.keys_of(graph)}}
    seen: dict[tuple[int, ...], int] = {}
    for key, asked in notes.items():
        identity = tuple(map(id, asked))
        position = seen.get(identity)
        if position is None:
            where = f"the annotation of key {key!r}"
            position = seen[identity] = known.position_of(
                merge([_checked(where, note, resources) for note in asked], base)
            )
        if position:
            assigned.keys[key] = position
        if len(asked) > 1 and any(note != asked[0] for note in asked):
            assigned.merged[key] = asked
    return assigned


class _Known:
    """Policies, each once."""

    def __init__(self) -> None:
        self.policies: list[Policy] = []
        self._positions: dict[Hashable, int] = {}

    def position_of(self, policy: Policy) -> int:
        resources = tuple(sorted(policy.resources.items()))
        position = self._positions.setdefault(
            (policy.priority, policy.retry, policy.timeout, resources), len(self.policies)
        )
        if position == len(self.policies):
            self.policies.append(policy)
        return position


def _once(asked: Notes) -> Notes:
    """Return what is asked for a task that is attempted again only if it asks for that itself."""
    return tuple({"retries": None, **note} for note in asked)


def _with_functions(graph: Iterable[Key], notes: Mapping[Key, Notes], functions: Mapping[str, Any]) -> dict[Key, Notes]:
    """Return what is asked for, with what functions around the call ask for each task that does not say."""

    def of(key: Key) -> Notes:
        asked = _recover.called(functions, key)
        return tuple({**asked, **note} for note in notes.get(key, ({},)))

    return {key: of(key) for key in graph}


def _checked(where: str, words: Mapping[str, Any], resources: Collection[str]) -> dict[str, Any]:
    """Return words of an annotation with values that are allowed."""
    _refuse_lane(where, words)
    for name in sorted(_FOR_CLUSTERS & words.keys()):
        _warn_or_refuse(where, name, "is for clusters")
    checked = {word: _check(where, word, words[word]) for word in WORDS if word in words}
    unknown = sorted(checked.get("resources", {}).keys() - set(resources))
    for name in unknown:
        _warn_or_refuse(where, f"resources[{name!r}]", "names a resource that ferris.resources does not have")
        del checked["resources"][name]
    return checked


def _warn_or_refuse(where: str, what: str, why: str) -> None:
    """Say, once in a process, that a part of an annotation has no effect: the script may be meant for a cluster."""
    if is_strict():
        msg = f"{where} can not be honoured: {what} {why}"
        raise PolicyError(msg)
    if what not in _warned_of:
        _warned_of.add(what)
        warn(f"the annotation {what} {why}, and has no effect; this is said once in a process")


_warned_of: set[str] = set()


def is_strict() -> bool:
    """Return whether annotations that can not be honoured are errors."""
    key = "ferris.strict-annotations"
    return as_flag(f"the config key {key!r}", dask.config.get(key, False))


def _check(where: str, word: str, value: Any) -> Any:
    try:
        return _CHECKS[word](value)
    except (TypeError, ValueError) as error:
        msg = f"{where} can not be honoured: {error}"
        raise PolicyError(msg) from error


def _refuse_lane(where: str, words: Mapping[str, Any]) -> None:
    lane = words.get("lane", "thread")
    if lane != "thread":
        msg = f"{where} asks for lane={lane!r}; this version of dask_ferris has lane='thread' only"
        raise PolicyError(msg)


def _policy(words: Mapping[str, Any]) -> Policy:
    return Policy(
        priority=words.get("priority", DEFAULT.priority),
        retry=words.get("retries"),
        timeout=words.get("timeout"),
        resources=words.get("resources") or {},
    )


def merge(asked: list[dict[str, Any]], base: Mapping[str, Any]) -> Policy:
    """Return the policy of a task that was fused of several calls.

    Args:
        asked: What each of the calls asks for, checked.
        base: What counts where a call does not say.

    Returns:
        The highest priority, the attempts of all, the most of each resource, and the sum of the times.
    """
    policies = [_policy({**base, **words}) for words in asked]
    own_timeouts = any("timeout" in words for words in asked)
    return Policy(
        priority=max(policy.priority for policy in policies),
        retry=_merged_retry([policy.retry for policy in policies if policy.retry]),
        timeout=_sum_of([policy.timeout for policy in policies]) if own_timeouts else base.get("timeout"),
        resources=_most_of([policy.resources for policy in policies]),
    )


def _merged_retry(retries: list[Retry]) -> Retry | None:
    if len(retries) < 2:  # noqa: PLR2004 - there is nothing to merge
        return retries[0] if retries else None
    slowest = max(retries, key=lambda retry: (retry.backoff, retry.max_delay))
    return Retry(
        attempts=max(retry.attempts for retry in retries),
        on=_united(retry.on for retry in retries),
        not_on=_united(retry.not_on for retry in retries),
        backoff=slowest.backoff,
        factor=slowest.factor,
        max_delay=slowest.max_delay,
        jitter=slowest.jitter,
    )


def _united(groups: Any) -> tuple[type[BaseException], ...]:
    return tuple(dict.fromkeys(error for group in groups for error in group))


def _sum_of(timeouts: list[float | None]) -> float | None:
    limits = [timeout for timeout in timeouts if timeout is not None]
    return sum(limits) if len(limits) == len(timeouts) else None


def _most_of(resources: list[Mapping[str, float]]) -> dict[str, float]:
    most: dict[str, float] = {}
    for amounts in resources:
        for name, amount in amounts.items():
            most[name] = max(amount, most.get(name, 0.0))
    return most
