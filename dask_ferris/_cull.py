"""Delayed graphs in linear time.

Dask's optimiser for Delayed does nothing but leave out what no key needs. Delayed makes a layer of each call, and the
optimiser looks from each layer at all keys that are still wanted: ten thousand calls take seconds. Here the layers are
merged into one dict first, and one walk from the keys finds what they need; the graph that comes out is the same.

Only what is exactly Dask's own is treated so. Everything else is left to Dask.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import dask

# What `dask.compute` hands over has no public name.
from dask._expr import HLGExpr, _HLGExprGroup, _HLGExprSequence  # pyright: ignore[reportPrivateUsage]
from dask._task_spec import GraphNode
from dask.core import flatten, get_dependencies
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["materialise"]

Graph = dict[Any, Any]


def materialise(expr: object) -> tuple[Graph, set[str]] | None:
    """Return the optimised graph of what `dask.compute` hands over, and the names of its annotations.

    Args:
        expr: The expression.

    Returns:
        The graph and the names, or None when nothing in the expression is a Delayed that Dask would only cull.
    """
    if type(expr) is not _HLGExprSequence or not any(map(_is_only_culled, expr.operands)):
        return None
    graph: Graph = {}
    names: set[str] = set()
    for operand in expr.operands:
        part, layers = _cull(operand) if _is_only_culled(operand) else _optimise(operand)
        graph.update(part)
        names.update(name for layer in layers for name in layer.annotations or ())
    return graph, names


def _is_only_culled(operand: Any) -> bool:
    """Tell whether Dask's own optimiser for Delayed is to be run, on layers that are plain dicts."""
    return (
        type(operand) in {HLGExpr, _HLGExprGroup}
        # The module is hidden behind the function of the same name.
        and operand.low_level_optimizer is sys.modules["dask.delayed"].optimize
        and not dask.config.get("optimization.fuse.delayed", False)
        and type(operand.hlg) is HighLevelGraph
        and all(type(layer) is MaterializedLayer for layer in operand.hlg.layers.values())
    )


def _cull(operand: Any) -> tuple[Graph, Iterable[Any]]:
    layers = operand.hlg.layers.values()
    merged: Graph = {}
    for layer in layers:
        merged.update(layer.mapping)
    return _needed(merged, flatten(operand.__dask_keys__())), layers


def _needed(graph: Graph, keys: Iterable[Hashable]) -> Graph:
    """Return the part of a graph that some keys need."""
    needed: Graph = {}
    wanted = [key for key in keys if key in graph]
    while wanted:
        key = wanted.pop()
        if key not in needed:
            node = needed[key] = graph[key]
            wanted.extend(other for other in _dependencies(graph, node) if other in graph)
    return needed


def _dependencies(graph: Any, node: Any) -> Iterable[Hashable]:
    return node.dependencies if isinstance(node, GraphNode) else get_dependencies(graph, task=node)


def _optimise(operand: Any) -> tuple[Graph, Iterable[Any]]:
    """Do what Dask does with any other operand."""
    dsk = operand.hlg
    if operand.low_level_optimizer is not None:
        dsk = operand.low_level_optimizer(dsk, operand.__dask_keys__())
    merged = HighLevelGraph.merge(dsk)
    return merged.to_dict(), merged.layers.values()
