"""Plans of random graphs, for hypothesis: plain data, from which `random_graphs.build` makes Dask graphs.

A node only refers to nodes before it, so a plan is always acyclic.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

MAX_NODES = 25
FALSY: list[Any] = [None, 0, 0.0, False, "", b"", (), [], {}, np.empty(0)]
LITERALS: list[Any] = [None, True, 3, -0.5, "literal", b"literal", (1, "literal"), [1, [2]], {"k": 1}]


class Short:
    """A dataclass that hypothesis prints without the fields that are as by default: people read failing plans."""

    def _repr_pretty_(self: Any, printer: Any, _cycle: bool) -> None:
        name = type(self).__name__
        with printer.group(len(name) + 1, f"{name}(", ")"):
            given = [item.name for item in fields(self) if getattr(self, item.name) is not item.default]
            for place, field_name in enumerate(given):
                if place:
                    printer.text(",")
                    printer.breakable()
                printer.text(f"{field_name}=")
                printer.pretty(getattr(self, field_name))


@dataclass(frozen=True)
class Argument(Short):
    """One argument of a task: a form and what it is made of."""

    form: str
    node: int = 0
    literal: Any = None
    parts: tuple[Argument, ...] = ()

    def references(self) -> set[int]:
        """Return the nodes this argument needs."""
        own = {self.node} if self.form in {"ref", "alias"} else set()
        return own.union(*(part.references() for part in self.parts))


@dataclass(frozen=True)
class Node(Short):
    """One node of a plan."""

    kind: str
    key: Any
    arguments: tuple[Argument, ...] = ()
    keywords: tuple[Argument, ...] = ()
    returns: Any = ...
    shared: int = 0
    target: int = 0

    def references(self) -> set[int]:
        """Return the nodes this one needs."""
        own = {self.target} if self.kind in {"alias", "name"} else set()
        return own.union(*(argument.references() for argument in self.arguments + self.keywords))


# An inner graph shared by several fused tasks: for each inner task, the inner values it takes (-1 is the input).
Inner = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Plan:
    """A random graph, the keys asked for, and the calls that fail."""

    nodes: tuple[Node, ...]
    inner: tuple[Inner, ...]
    asked: tuple[int, ...]
    failing: frozenset[Hashable]
    n_fusions: int

    def keys(self) -> list[Any]:
        """Return the keys asked for; every third one in a list of its own."""
        keys = [self.nodes[i].key for i in self.asked]
        return [[key] if place % 3 == 2 else key for place, key in enumerate(keys)]

    def needed(self) -> set[int]:
        """Return the nodes that have to run for the keys."""
        needed: set[int] = set()
        stack = list(self.asked)
        while stack:
            node = stack.pop()
            if node not in needed:
                needed.add(node)
                stack.extend(self.nodes[node].references())
        return needed

    def calls_of(self, node: int) -> set[Hashable]:
        """Return the names of the calls that belong to a node, shared inner ones included."""
        plan = self.nodes[node]
        names: set[Hashable] = {node} if plan.kind in _KINDS_THAT_CALL else set()
        for place, argument in enumerate(plan.arguments + plan.keywords):
            names |= set(_nested_names(argument, (node, place)))
        if plan.kind == "fused":
            names.add((node, "first"))
        if plan.kind == "shared":
            names |= {("inner", plan.shared, i) for i in range(len(self.inner[plan.shared]))}
        return names

    def spoiled(self) -> set[int]:
        """Return the nodes that cannot run because one that they need fails."""
        spoiled: set[int] = set()
        for i, node in enumerate(self.nodes):
            if any(j in spoiled or self.failing & self.calls_of(j) for j in node.references()):
                spoiled.add(i)
        return spoiled


_KINDS_THAT_CALL = {"task", "called", "fused", "legacy"}


def _nested_names(argument: Argument, name: tuple[Hashable, ...]) -> Iterator[Hashable]:
    """Yield the names of the calls inside an argument."""
    if argument.form == "nested":
        yield name
    for p, part in enumerate(argument.parts):
        if argument.form == "set":
            yield (*name, p, "hashable")
        yield from _nested_names(part, (*name, p))


# Cached, for hypothesis is slow to validate a new strategy, and there are few different ones.
@functools.cache
def _arguments(n_before: int, depth: int = 2) -> st.SearchStrategy[Argument]:
    """Return arguments that refer to the first `n_before` nodes."""
    leaves = [
        st.builds(Argument, st.sampled_from(["literal", "data"]), literal=st.sampled_from(LITERALS)),
    ]
    if n_before:
        references = st.builds(Argument, st.sampled_from(["ref", "alias"]), node=st.integers(0, n_before - 1))
        leaves = [references, references, *leaves]
    if not depth:
        return st.one_of(leaves)
    parts = st.lists(_arguments(n_before, depth - 1), max_size=3).map(tuple)
    forms = st.sampled_from(["nested", "list", "tuple", "set", "dict"])
    return st.one_of(*leaves, st.builds(Argument, forms, parts=parts))


_INNER_SIZES = st.integers(1, 4)


@st.composite
def _inner_graphs(draw: st.DrawFn) -> Inner:
    """Return an inner graph in which each task takes earlier ones, or the input."""
    size = draw(_INNER_SIZES)
    return tuple(tuple(draw(st.lists(st.integers(-1, i - 1), max_size=3))) for i in range(size))


@st.composite
def _nodes(draw: st.DrawFn, i: int, n_inner: int, *, plain_keys: bool) -> Node:
    """Return node number `i`."""
    kinds = ["task", "task", "called", "fused", "shared", "legacy", "list", "container", "data", "raw"]
    if i:
        kinds += ["alias", "name"]
    keys = [f"n{i}", ("t", i)] if plain_keys else [f"n{i}", ("t", i), 1000 + i, i + 0.25]
    kind = draw(st.sampled_from(kinds))
    node = Node(
        kind,
        draw(st.sampled_from(keys)),
        returns=draw(
            st.sampled_from(FALSY) if kind in {"data", "raw"} else st.one_of(st.just(...), st.sampled_from(FALSY))
        ),
        shared=draw(st.integers(0, n_inner - 1)),
        target=draw(st.integers(0, i - 1)) if i else 0,
    )
    if kind in {"data", "raw", "alias", "name"}:
        return node
    arguments = tuple(draw(st.lists(_arguments(i), max_size=4)))
    keywords = tuple(draw(st.lists(_arguments(i), max_size=2))) if kind in {"task", "called"} else ()
    return replace(node, arguments=arguments, keywords=keywords)


@st.composite
def plans(draw: st.DrawFn, *, failures: bool) -> Plan:
    """Return random plans; with `failures`, up to three of their calls raise."""
    n_fusions = draw(st.integers(0, 2))
    inner = tuple(draw(st.lists(_inner_graphs(), min_size=1, max_size=2)))
    n_nodes = draw(st.integers(1, MAX_NODES))
    nodes = tuple(draw(_nodes(i, len(inner), plain_keys=n_fusions > 0)) for i in range(n_nodes))
    asked = tuple(draw(st.lists(st.integers(0, n_nodes - 1), min_size=1, max_size=6)))
    plan = Plan(nodes, inner, asked, frozenset(), n_fusions)
    names = sorted(set().union(*(plan.calls_of(i) for i in plan.needed())), key=repr)
    if failures and names:
        plan = replace(plan, failing=frozenset(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))))
    return plan
