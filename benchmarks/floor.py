"""The floor: what the same calls cost in a plain Python loop that has its lists ready and knows its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.graphs import Graph

Functions = list[Callable[..., Any]]
Results = list[Any]


def positional_loop(graph: Graph) -> Callable[[], None]:
    """The loop over tasks whose arguments are all results of others."""
    functions, results, index = _lists(graph)
    inputs = [tuple(index[argument.key] for argument in task.args) for task in graph.values()]
    return lambda: _run_positional(functions, inputs, results)


def list_loop(graph: Graph) -> Callable[[], None]:
    """The loop over tasks that take one list of results."""
    functions, results, index = _lists(graph)
    inputs = [tuple(index[argument.key] for argument in task.args[0].args) for task in graph.values()]
    return lambda: _run_lists(functions, inputs, results)


def keyword_loop(graph: Graph) -> Callable[[], None]:
    """The loop over tasks whose keywords are all results of others."""
    functions, results, index = _lists(graph)
    inputs = [tuple((name, index[value.key]) for name, value in task.kwargs.items()) for task in graph.values()]
    return lambda: _run_keywords(functions, inputs, results)


def _lists(graph: Graph) -> tuple[Functions, Results, dict[Any, int]]:
    """The functions, room for the results, and the position of each key."""
    return [task.func for task in graph.values()], [None] * len(graph), {key: i for i, key in enumerate(graph)}


def _run_positional(functions: Functions, inputs: list[tuple[int, ...]], results: Results) -> None:
    for i, sources in enumerate(inputs):
        if not sources:
            results[i] = functions[i]()
        elif len(sources) == 1:
            results[i] = functions[i](results[sources[0]])
        else:
            results[i] = functions[i](*[results[j] for j in sources])


def _run_lists(functions: Functions, inputs: list[tuple[int, ...]], results: Results) -> None:
    for i, sources in enumerate(inputs):
        results[i] = functions[i]([results[j] for j in sources])


def _run_keywords(functions: Functions, inputs: list[tuple[tuple[str, int], ...]], results: Results) -> None:
    for i, sources in enumerate(inputs):
        results[i] = functions[i](**{name: results[j] for name, j in sources})
