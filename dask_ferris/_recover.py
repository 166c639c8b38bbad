"""Annotations that Dask's optimisers lose: the same optimisation, with the annotations carried along.

Dask keeps the annotations of a layer until its optimiser makes one plain dict of all layers, as those for Array and Bag
do. Here the steps of that optimiser are taken one by one:

- Layers of blocks are fused while each annotation wears a mark that Dask's own rule for fused layers unites; the layers
  that come out tell by their marks what went into them.
- When the graph has become a dict, the layers say which annotation is whose key.
- Tasks that are fused after that keep the keys of what went into them.

Only what is exactly Dask's own is treated so, and the graph that comes out is the one that Dask would make, with one
exception: a task with a limit of time is not fused in a line with one that has none. Any other optimiser is run as it
is; what it keeps of the annotations, or of the keys, is found, and the rest is reported as lost.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask
from dask._expr import _HLGExprSequence  # pyright: ignore[reportPrivateUsage]  # what `dask.compute` hands over
from dask._task_spec import (
    Task,
    _execute_subgraph,  # pyright: ignore[reportPrivateUsage]  # what fused tasks call
    convert_legacy_graph,
    fuse_linear_task_spec,
)
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, Layer
from dask.utils import ensure_dict

from dask_ferris import _cull
from dask_ferris.exceptions import PolicyError

if TYPE_CHECKING:
    from dask.typing import Key

__all__ = ["WORDS", "Annotated", "Notes", "called", "materialise", "read_layers"]

Graph = dict[Any, Any]

Notes = tuple[Mapping[str, Any], ...]
"""What was asked for each of the calls that a task is made of."""

#: Annotations that ask this scheduler for something.
WORDS = frozenset({"allow_other_workers", "lane", "priority", "resources", "retries", "timeout", "workers"})

_MARK = "dask-ferris-"

_NOTHING: Mapping[str, Any] = {}


@dataclass
class Annotated:
    """A graph with what its annotations ask for.

    Attributes:
        graph: From keys to nodes.
        notes: For keys that ask for something, what each of the calls of their tasks asks for.
        lost: Names of layers whose annotations could not be found again.
    """

    graph: Graph = field(default_factory=dict)
    notes: dict[Key, Notes] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def update(self, other: Annotated) -> None:
        """Take another one in."""
        self.graph.update(other.graph)
        self.notes.update(other.notes)
        self.lost.extend(other.lost)


def materialise(expr: object) -> Annotated | None:
    """Optimise what `dask.compute` hands over, as Dask would.

    Args:
        expr: The expression.

    Returns:
        The graph, or None when there is nothing in the expression that Dask would not do as well.

    Raises:
        PolicyError: An annotation is a function that fails.
    """
    if type(expr) is not _HLGExprSequence:
        return None
    operands = [(operand, operand.hlg) for operand in expr.operands]
    if not any(_is_annotated(hlg) or _cull.is_only_culled(operand, hlg) for operand, hlg in operands):
        return None
    all_of_it = Annotated()
    for operand, hlg in operands:
        all_of_it.update(_optimise(operand, hlg))
    return all_of_it


def read_layers(hlg: HighLevelGraph) -> dict[Key, Notes]:
    """Return what the layers of a graph ask for, by key."""
    notes: dict[Key, Notes] = {}
    for layer in hlg.layers.values():
        note = _note_of(layer)
        if note:
            _write(notes, layer, (note,))
    return notes


def _is_annotated(hlg: HighLevelGraph) -> bool:
    return any(map(_note_of, hlg.layers.values()))


def _note_of(layer: Any) -> dict[str, Any]:
    """Return what the annotations of a layer ask for."""
    return {word: value for word, value in (layer.annotations or {}).items() if word in WORDS}


def _write(notes: dict[Key, Notes], keys: Iterable[Key], asked: Notes) -> None:
    """Note what is asked for some keys; functions are called with each of them."""
    if any(callable(value) for note in asked for value in note.values()):
        notes.update((key, tuple(called(note, key) for note in asked)) for key in keys)
    else:
        notes.update(dict.fromkeys(keys, asked))


def called(note: Mapping[str, Any], key: Key) -> Mapping[str, Any]:
    """Return what an annotation asks for one key, of which its functions are told."""
    values = {word: _value_for(key, word, value) if callable(value) else value for word, value in note.items()}
    return {word: value for word, value in values.items() if not _is_tombstone(value)}


def _value_for(key: Key, word: str, function: Callable[[Key], object]) -> object:
    try:
        return function(key)
    except Exception as error:
        msg = f"the annotation {word}={function!r} failed for the key {key!r}: {error!r}"
        raise PolicyError(msg) from error


def _is_tombstone(value: object) -> bool:
    """Tell whether Dask says that a key has no annotation, though its layer has."""
    return type(value).__name__ == "_AnnotationsTombstone"


# ---- The optimisers


def _optimise(operand: Any, hlg: HighLevelGraph) -> Annotated:
    optimizer, keys = operand.low_level_optimizer, operand.__dask_keys__()
    if _cull.is_only_culled(operand, hlg):
        return _of_needed(_cull.merged(hlg), keys, read_layers(hlg))
    if optimizer is None or not _is_annotated(hlg):
        optimised = hlg if optimizer is None else HighLevelGraph.merge(optimizer(hlg, keys))
        return Annotated(ensure_dict(optimised), read_layers(optimised))
    for name, own in _OWN.items():
        module = sys.modules.get(name)
        if module is not None and optimizer is module.optimize:
            return own(hlg, list(flatten(keys)))
    return _optimise_unknown(hlg, keys, optimizer)


def _optimise_delayed(hlg: HighLevelGraph, keys: list[Key]) -> Annotated:
    """Do as `dask.delayed.optimize`."""
    all_of_it = Annotated(ensure_dict(hlg), read_layers(hlg))
    if dask.config.get("optimization.fuse.delayed", False):
        all_of_it = _fuse_lines(all_of_it.graph, keys, all_of_it.notes)
    return _of_needed(all_of_it.graph, keys, all_of_it.notes)


def _of_needed(graph: Graph, keys: Any, notes: Mapping[Key, Notes]) -> Annotated:
    needed = _cull.needed(graph, flatten(keys))
    return Annotated(needed, _of_graph(needed, notes))


def _optimise_bag(hlg: HighLevelGraph, keys: list[Key]) -> Annotated:
    """Do as `dask.bag.core.optimize`."""
    from dask.bag.core import cull, lazify  # noqa: PLC0415 - a Bag is there

    graph = cull(convert_legacy_graph(hlg), keys)
    fused = _fuse_lines(graph, keys, read_layers(hlg))
    fused.graph = lazify(fused.graph)
    return fused


def _optimise_array(hlg: HighLevelGraph, keys: list[Key]) -> Annotated:
    """Do as `dask.array.optimization.optimize`."""
    from dask.array.optimization import (  # noqa: PLC0415 - an Array is there
        _optimize_slices,  # pyright: ignore[reportPrivateUsage]  # a step of it
        fuse_roots,
        optimize_blockwise,
    )

    marked, all_notes = _marked(hlg)
    fused = optimize_blockwise(marked, keys=keys)
    asked = {name: _take_marks(layer, all_notes) for name, layer in fused.layers.items()}
    culled = fuse_roots(fused, keys=keys).cull(set(keys))
    notes: dict[Key, Notes] = {}
    for name, layer in culled.layers.items():
        notes_of_layer = asked[name if name in asked else name.rpartition("-")[0]]  # culling puts a token to the name
        if notes_of_layer:
            _write(notes, layer, _of_each_call(notes_of_layer, layer))
    graph = ensure_dict(culled)
    if dask.config.get("optimization.fuse.active") is False:
        return Annotated(graph, notes)
    in_lines = _fuse_lines(convert_legacy_graph(graph), keys, notes)
    in_lines.graph = _optimize_slices(in_lines.graph)
    return in_lines


def _optimise_unknown(hlg: HighLevelGraph, keys: Any, optimizer: Callable[[HighLevelGraph, Any], Any]) -> Annotated:
    """Run an optimiser that is not known, and look what is left of the annotations in its layers, or of the keys."""
    before = read_layers(hlg)
    optimised = HighLevelGraph.merge(optimizer(hlg, keys))
    graph = ensure_dict(optimised)
    notes = read_layers(optimised) | _of_fused(graph, before)
    found = {id(note) for asked in notes.values() for note in asked}
    lost = [name for name, layer in hlg.layers.items() if _note_of(layer) and not _is_found(layer, before, found)]
    return Annotated(graph, notes, lost)


def _is_found(layer: Any, before: Mapping[Key, Notes], found: set[int]) -> bool:
    return any(id(note) in found for key in layer for note in before[key])


_OWN: dict[str, Callable[[HighLevelGraph, list[Key]], Annotated]] = {
    # By the name of the module, so that none is imported that was not.
    "dask.array.optimization": _optimise_array,
    "dask.bag.core": _optimise_bag,
    "dask.delayed": _optimise_delayed,
}


# ---- Layers of blocks


def _marked(hlg: HighLevelGraph) -> tuple[HighLevelGraph, list[dict[str, Any]]]:
    """Return a graph whose annotated layers wear a mark, and the annotations by the number of the mark."""
    annotations: list[dict[str, Any]] = []
    layers = {name: _with_mark(layer, annotations) for name, layer in hlg.layers.items()}
    return HighLevelGraph(layers, hlg.dependencies), annotations


def _with_mark(layer: Any, annotations: list[dict[str, Any]]) -> Any:
    if not layer.annotations:
        return layer
    same = (number for number, other in enumerate(annotations) if other == layer.annotations)
    number = next(same, len(annotations))
    if number == len(annotations):
        annotations.append(layer.annotations)
    marked = copy.copy(layer)
    # Names for which Dask has no rule stay: they say what may be fused.
    marked.annotations = {word: value for word, value in layer.annotations.items() if word not in _FUSABLE}
    marked.annotations["resources"] = {f"{_MARK}{number}": 1}
    return marked


# Annotations of layers that Dask fuses though they differ; see `dask.blockwise._can_fuse_annotations`.
_FUSABLE = frozenset({"allow_other_workers", "priority", "resources", "retries", "workers"})


def _take_marks(layer: Any, annotations: list[dict[str, Any]]) -> Notes:
    """Return what went into a layer, which has no annotations from then on but those that Dask would have given it."""
    marks = (layer.annotations or {}).get("resources", {})
    numbers = [int(mark.removeprefix(_MARK)) for mark in marks if str(mark).startswith(_MARK)]
    if not numbers:
        return ()
    layer.annotations = _united([annotations[number] for number in numbers])
    notes = ({word: annotations[number][word] for word in WORDS & annotations[number].keys()} for number in numbers)
    return tuple(note for note in notes if note)


def _united(annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what Dask makes of the annotations of layers that it fuses: by them it tells which roots it fuses."""
    from dask.blockwise import (  # noqa: PLC0415 - layers of blocks are there
        _fuse_annotations,  # pyright: ignore[reportPrivateUsage]  # its rule
    )

    try:
        return _fuse_annotations(*annotations) if len(annotations) > 1 else annotations[0]
    except TypeError:  # functions have no maximum: Dask would fail here
        return {word: value for annotation in annotations for word, value in annotation.items()}


def _of_each_call(asked: Notes, layer: Layer) -> Notes:
    """Repeat what asks for time for each of the calls that were fused into a block: Dask fuses them if all agree."""
    if any("timeout" in note for note in asked):
        return asked * max(map(_n_calls, layer.values()), default=1)
    return asked


def _n_calls(node: Any) -> int:
    if not _is_fused(node):
        return 1
    return max(1, sum(isinstance(inner, Task) for inner in node.args[0].values()))


# ---- Tasks fused in lines


def _fuse_lines(graph: Graph, keys: list[Key], notes: dict[Key, Notes]) -> Annotated:
    """Fuse tasks in lines, as Dask does, but none that has a limit of time with one that has none."""
    fused = fuse_linear_task_spec(graph, set(keys))
    found: dict[Key, Notes] = {}
    for key, node in list(fused.items()):
        # A line may have the key of its last task.
        is_line = _is_fused(node) and graph.get(key) is not node
        asked = _of_line(node, notes) if is_line else notes.get(key, ())
        if is_line and _is_torn(asked):
            del fused[key]
            fused.update(node.args[0])
            found.update(_of_graph(node.args[0], notes))
        elif any(asked):
            found[key] = asked
    return Annotated(fused, found)


def _of_line(node: Any, notes: Mapping[Key, Notes]) -> Notes:
    return tuple(note for key in node.args[0] for note in notes.get(key, (_NOTHING,)))


def _of_fused(graph: Graph, notes: Mapping[Key, Notes]) -> dict[Key, Notes]:
    """Return the notes of a graph some of whose tasks were fused in a way that is not known."""
    found: dict[Key, Notes] = {}
    for key, node in graph.items():
        asked = notes.get(key, ()) or (_of_line(node, notes) if _is_fused(node) else ())
        if any(asked):
            found[key] = asked
    return found


def _is_torn(asked: Notes) -> bool:
    """Tell whether some of the calls have a limit of time and others have not."""
    return len({"timeout" in note for note in asked}) > 1


def _is_fused(node: Any) -> bool:
    return type(node) is Task and node.func is _execute_subgraph


def _of_graph(graph: Mapping[Key, Any], notes: Mapping[Key, Notes]) -> dict[Key, Notes]:
    return {key: notes[key] for key in graph.keys() & notes.keys()}
