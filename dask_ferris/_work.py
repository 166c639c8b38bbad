"""What is to be run: collections, or a graph and keys, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.base import collections_to_expr, flatten, is_dask_collection, unpack_collections
from dask.callbacks import Callback

from dask_ferris import _governed, _options
from dask_ferris._warn import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_ferris._governed import Begun

__all__ = ["Work", "begin", "read"]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be run.

    Attributes:
        dsk: The graph.
        keys: Its keys, flat unless `get` was called with nested ones.
        names: What each of the keys is called, flat; nothing for one that occurred before.
        answer: Makes the result of the values of the keys.
        options: How it is to be run.
    """

    dsk: Any
    keys: Any
    names: list[list[Any]]
    answer: Callable[[Any], Any]
    options: _options.Options


def begin(work: Work, *, hands_over: bool) -> Begun:
    """Begin a run of it; as `_governed.begin`."""
    graph, assigned = _governed.assign(work.dsk, work.options)
    return _governed.begin(graph, work.keys, assigned, work.options, hands_over=hands_over)


def read(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Work:
    """Read the arguments of `start` or `as_completed`, whose `name` it is."""
    if Callback.active:
        warn(f"callbacks of Dask are not called for runs that were begun with {name}")
    if _is_graph(args):
        dsk, keys = args
        given = _options.resolve_strictly(name, options)
        return Work(dsk, keys, _once(keys), _as_it_is, given)
    known = ("optimize_graph",) if name == "as_completed" else ("traverse", "optimize_graph")
    layout = {word: options.pop(word) for word in known if word in options}
    given = _options.resolve_strictly(name, options, *known)
    return _read_collections(name, args, given, **layout)


def _is_graph(args: tuple[Any, ...]) -> bool:
    """Return whether the arguments are a graph and keys."""
    if len(args) != 2 or is_dask_collection(args[1]):  # noqa: PLR2004
        return False
    graph, keys = args
    if not isinstance(graph, Mapping):
        return hasattr(graph, "__dask_graph__") and not is_dask_collection(graph)
    # What is no key of it may stand beside a dict of collections.
    first = next(flatten([keys], container=list), None)
    return _is_key_of(graph, first) or not any(map(is_dask_collection, graph.values()))


def _is_key_of(graph: Mapping[Any, Any], key: Any) -> bool:
    try:
        return key in graph
    except TypeError:
        return False


def _once(keys: Any) -> list[list[Any]]:
    seen: set[Any] = set()
    names: list[list[Any]] = []
    for key in flatten([keys], container=list):
        names.append([] if key in seen else [key])
        seen.add(key)
    return names


def _as_it_is(values: Any) -> Any:
    return values


def _read_collections(
    name: str,
    args: tuple[Any, ...],
    options: _options.Options,
    traverse: bool = True,  # noqa: FBT001, FBT002  as for dask.compute
    optimize_graph: bool = True,  # noqa: FBT001, FBT002
) -> Work:
    """As `dask.compute` does, up to the call of the scheduler."""
    from dask._expr import FinalizeCompute  # noqa: PLC0415  as Dask does

    is_stream = name == "as_completed"
    if is_stream and (others := [arg for arg in args if not is_dask_collection(arg)]):
        msg = f"as_completed takes collections of Dask, or a graph and keys, not {others[0]!r}"
        raise TypeError(msg)
    collections, repack = unpack_collections(*args, traverse=traverse and not is_stream)
    if not collections:
        return Work({}, [], [], lambda _: args, options)
    expression = FinalizeCompute(collections_to_expr(collections, optimize_graph)).optimize()
    keys = list(flatten(expression.__dask_keys__()))
    names: list[list[Any]] = [[] for _ in keys]
    if is_stream:
        # Equal collections are computed once.
        for place, position in enumerate(repack(range(len(keys)))):
            names[position].append(place)
    return Work(expression, keys, names, repack, options)
