"""Delayed graphs in linear time.

Dask's optimiser for Delayed does nothing but leave out what no key needs. Delayed makes a layer of each call, and the
optimiser looks from each layer at all keys that are still wanted: ten thousand calls take seconds. Here the layers are
merged into one dict first, and one walk from the keys finds what they need; the graph that comes out is the same.

Only what is exactly Dask's own is treated so. Everything else is left to Dask.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import dask

# What `dask.compute` hands over has no public name.
from dask._expr import HLGExpr, _HLGExprGroup  # pyright: ignore[reportPrivateUsage]
from dask._task_spec import GraphNode
from dask.core import get_dependencies
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["is_only_culled", "merged", "needed"]

Graph = dict[Any, Any]


def is_only_culled(operand: Any, hlg: HighLevelGraph) -> bool:
    """Tell whether Dask's own optimiser for Delayed is to be run, on layers that are plain dicts.

    Args:
        operand: A part of what `dask.compute` hands over.
        hlg: Its graph.
    """
    return (
        type(operand) in {HLGExpr, _HLGExprGroup}
        # The module is hidden behind the function of the same name.
        and operand.low_level_optimizer is sys.modules["dask.delayed"].optimize
        and not dask.config.get("optimization.fuse.delayed", False)
        and type(hlg) is HighLevelGraph
        and all(type(layer) is MaterializedLayer for layer in hlg.layers.values())
    )


def merged(hlg: HighLevelGraph) -> Graph:
    """Return all layers as one dict."""
    graph: Graph = {}
    for layer in hlg.layers.values():
        graph.update(cast("MaterializedLayer", layer).mapping)
    return graph


def needed(graph: Graph, keys: Iterable[Hashable]) -> Graph:
    """Return the part of a graph that some keys need."""
    found: Graph = {}
    wanted = [key for key in keys if key in graph]
    while wanted:
        key = wanted.pop()
        if key not in found:
            node = found[key] = graph[key]
            wanted.extend(other for other in _dependencies(graph, node) if other in graph)
    return found


def _dependencies(graph: Any, node: Any) -> Iterable[Hashable]:
    return node.dependencies if isinstance(node, GraphNode) else get_dependencies(graph, task=node)
