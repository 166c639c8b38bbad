"""Whatever Dask hands over becomes a plain dict, with what its annotations ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dask.highlevelgraph import HighLevelGraph

from dask_ferris import _recover
from dask_ferris._assign import is_strict
from dask_ferris.exceptions import PolicyError

if TYPE_CHECKING:
    from dask_ferris._recover import Notes

__all__ = ["read"]

Graph = dict[Any, Any]


def read(dsk: Any) -> tuple[Graph, dict[Any, Notes]]:
    """Return a graph as a dict, and what is asked for by annotations.

    Args:
        dsk: An expression, a `HighLevelGraph`, a collection or any other mapping.

    Returns:
        A dict from keys to nodes, legacy tasks or data, which may be the argument itself; and for the keys that ask for
        something, what each of the calls of their tasks asks for.

    Raises:
        TypeError: `dsk` is no graph.
        PolicyError: An annotation is a function that fails; or, with ``ferris.strict-annotations``, is lost.
    """
    if type(dsk) is dict:
        return dsk, {}
    annotated = _recover.materialise(dsk)
    if annotated is not None:
        _refuse_losses(annotated.lost)
        return annotated.graph, annotated.notes
    graph = dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") and not isinstance(dsk, Mapping) else dsk
    if not isinstance(graph, Mapping):
        msg = f"a graph must be a mapping from keys to tasks, or an object that Dask can make one of, not {dsk!r}"
        raise TypeError(msg)
    # Layers of an expression are made while it is materialised: the annotations are complete only now.
    notes = _notes_of(dsk, graph)
    # `items`, as a `HighLevelGraph` looks for each single key in all its layers.
    return graph if type(graph) is dict else dict(graph.items()), notes


def _notes_of(dsk: Any, graph: Mapping[Any, Any]) -> dict[Any, Notes]:
    for layers in (dsk, graph):
        if isinstance(layers, HighLevelGraph):
            return _recover.read_layers(layers)
    by_name = dsk.__dask_annotations__() if hasattr(dsk, "__dask_annotations__") else {}
    notes: dict[Any, dict[str, Any]] = {}
    for name in by_name.keys() & _recover.WORDS:
        for key, value in by_name[name].items():
            notes.setdefault(key, {})[name] = value
    return {key: (note,) for key, note in notes.items()}


def _refuse_losses(lost: list[str]) -> None:
    if lost and is_strict():
        names = ", ".join(lost)
        msg = (
            f"the annotations of these layers were lost in an optimiser that dask_ferris does not know: {names}; "
            "compute with optimize_graph=False, or set ferris.strict-annotations to false"
        )
        raise PolicyError(msg)
