"""Random graphs: Dask graphs built from plans, around a function that notes its calls.

A plan is built twice, once for the scheduler under test and once for the oracle, each time around a recorder of its
own.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from dask._task_spec import (
    Alias,
    DataNode,
    Dict,
    List,
    Set,
    Task,
    TaskRef,
    Tuple,
    convert_legacy_graph,
    fuse_linear_task_spec,
)
from graphs import fused, same

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from plans import Argument, Inner, Node, Plan

Name = tuple["Hashable", ...]


class Boom(Exception):
    """The exception that random tasks raise; its argument is the name of the call."""


def canonical(value: Any) -> tuple[Any, ...]:
    """Return `value` in a form in which == compares types and arrays, deeply."""
    if isinstance(value, np.ndarray):
        return ("ndarray", value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, dict):
        return ("dict", tuple((canonical(k), canonical(v)) for k, v in value.items()))
    if isinstance(value, (set, frozenset)):
        return (type(value).__name__, tuple(sorted((canonical(item) for item in value), key=repr)))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(canonical(item) for item in value))
    return (type(value).__name__, repr(value))


@dataclass
class Recorder:
    """The function in every random task: it notes its calls, and its value depends on all it was given."""

    failing: frozenset[Hashable] = frozenset()
    events: list[tuple[str, Hashable]] = field(default_factory=list)

    def __call__(self, name: Hashable, returns: Any = ..., /, *args: Any, **kwargs: Any) -> Any:
        """Note the start and the end, and return a digest of the arguments, or `returns` if it is given."""
        self.events.append(("start", name))
        if name in self.failing:
            raise Boom(name)
        digest = zlib.crc32(repr(canonical((name, args, kwargs))).encode())
        self.events.append(("end", name))
        return digest if returns is ... else returns

    def starts(self) -> Counter[Hashable]:
        """Count the calls by name."""
        return Counter(name for event, name in self.events if event == "start")

    def position(self, event: str, name: Hashable) -> int:
        """Return the place of an event in the log."""
        return self.events.index((event, name))


class CalledTask(Task):
    """A derived class, which has to be called as the node it is."""

    __slots__ = ()


def build(plan: Plan, recorder: Recorder) -> dict[Any, Any]:
    """Return the graph of a plan, with `recorder` as the function of every task."""
    dsk = _Builder(plan, recorder).graph()
    for _ in range(plan.n_fusions):
        dsk = fuse_linear_task_spec(convert_legacy_graph(dsk), {plan.nodes[i].key for i in plan.asked})
    return dsk


class _Builder:
    """Builds one graph. Methods are named after the kinds of nodes and the forms of arguments."""

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        self._plan = plan
        self._recorder = recorder
        self._inner = [self._inner_graph(number, steps) for number, steps in enumerate(plan.inner)]

    def graph(self) -> dict[Any, Any]:
        """Return the graph, not fused."""
        return {node.key: getattr(self, f"_node_{node.kind}")(i, node) for i, node in enumerate(self._plan.nodes)}

    def _key(self, i: int) -> Any:
        return self._plan.nodes[i].key

    def _inner_graph(self, number: int, steps: Inner) -> dict[Any, Any]:
        """Return an inner graph that several fused tasks share."""
        return {
            i: Task(i, self._recorder, ("inner", number, i), ..., *(TaskRef(source) for source in sources))
            for i, sources in enumerate(steps)
        }

    def _node_data(self, _i: int, node: Node) -> Any:
        return DataNode(node.key, node.returns)

    def _node_raw(self, _i: int, node: Node) -> Any:
        return node.returns

    def _node_alias(self, _i: int, node: Node) -> Any:
        return Alias(node.key, self._key(node.target))

    def _node_name(self, _i: int, node: Node) -> Any:
        return self._key(node.target)

    def _node_task(self, i: int, node: Node, make: Callable[..., Any] = Task) -> Any:
        return make(node.key, self._recorder, i, node.returns, *self._arguments(i, node), **self._keywords(i, node))

    def _node_called(self, i: int, node: Node) -> Any:
        return self._node_task(i, node, CalledTask)

    def _node_fused(self, i: int, node: Node) -> Any:
        """Return a fused task with an inner graph of its own: two calls, of which the first one is used twice."""
        first = Task("first", self._recorder, (i, "first"), ..., TaskRef("in"))
        both = List(TaskRef("first"), TaskRef("in"))
        last = Task("last", self._recorder, i, node.returns, TaskRef("first"), both)
        return fused(node.key, {"first": first, "last": last}, "last", {"in": Tuple(*self._arguments(i, node))})

    def _node_shared(self, i: int, node: Node) -> Any:
        inner = self._inner[node.shared]
        return fused(node.key, inner, len(inner) - 1, {-1: List(*self._arguments(i, node))})

    def _node_container(self, i: int, node: Node) -> Any:
        arguments = self._arguments(i, node)
        container = (List(*arguments), Tuple(*arguments), Dict(dict(enumerate(arguments))))[i % 3]
        # Dask's fusion takes no container as a node of its own, for it has no key.
        return Task(node.key, same, container) if self._plan.n_fusions else container

    def _node_legacy(self, i: int, node: Node) -> Any:
        return (self._recorder, i, node.returns, *self._node_list(i, node))

    def _node_list(self, i: int, node: Node) -> Any:
        return [self._legacy(argument, (i, place)) for place, argument in enumerate(node.arguments)]

    def _arguments(self, i: int, node: Node) -> list[Any]:
        return [self._argument(argument, (i, place)) for place, argument in enumerate(node.arguments)]

    def _keywords(self, i: int, node: Node) -> dict[str, Any]:
        first = len(node.arguments)
        return {f"k{place}": self._argument(a, (i, first + place)) for place, a in enumerate(node.keywords)}

    def _argument(self, argument: Argument, name: Name) -> Any:
        parts = [self._argument(part, (*name, place)) for place, part in enumerate(argument.parts)]
        return getattr(self, f"_form_{argument.form}")(argument, name, parts)

    def _form_ref(self, argument: Argument, _name: Name, _parts: list[Any]) -> Any:
        return TaskRef(self._key(argument.node))

    def _form_alias(self, argument: Argument, _name: Name, _parts: list[Any]) -> Any:
        return Alias(self._key(argument.node))

    def _form_literal(self, argument: Argument, _name: Name, _parts: list[Any]) -> Any:
        return argument.literal

    def _form_data(self, argument: Argument, _name: Name, _parts: list[Any]) -> Any:
        return DataNode(None, argument.literal)

    def _form_nested(self, _argument: Argument, name: Name, parts: list[Any]) -> Any:
        return Task(None, self._recorder, name, ..., *parts)

    def _form_list(self, _argument: Argument, _name: Name, parts: list[Any]) -> Any:
        return List(*parts)

    def _form_tuple(self, _argument: Argument, _name: Name, parts: list[Any]) -> Any:
        return Tuple(*parts)

    def _form_dict(self, _argument: Argument, _name: Name, parts: list[Any]) -> Any:
        return Dict({f"d{place}": part for place, part in enumerate(parts)})

    def _form_set(self, _argument: Argument, name: Name, parts: list[Any]) -> Any:
        # Only the digests of calls are sure to be hashable.
        calls = [(*name, place, "hashable") for place in range(len(parts))]
        return Set(*(Task(None, self._recorder, call, ..., part) for call, part in zip(calls, parts, strict=True)))

    def _legacy(self, argument: Argument, name: Name) -> Any:
        """Return the argument as a legacy task has it: keys, tuples and lists instead of nodes."""
        parts = [self._legacy(part, (*name, place)) for place, part in enumerate(argument.parts)]
        calls = [(*name, place, "hashable") for place in range(len(parts))]
        forms = {
            "ref": self._key(argument.node),
            "alias": self._key(argument.node),
            "literal": argument.literal,
            "data": argument.literal,
            "nested": (self._recorder, name, ..., *parts),
            "list": parts,
            "tuple": (None, *parts),
            "dict": [[f"d{place}", part] for place, part in enumerate(parts)],
            "set": [(self._recorder, call, ..., part) for call, part in zip(calls, parts, strict=True)],
        }
        return forms[argument.form]
