"""Runs one workload: a process for each competitor, sampled in turns."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from benchmarks.worker import serve

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.sampling import Sample
    from benchmarks.workloads import Workload

ANSWER_SECONDS = 300
"""No answer for so long means a deadlock: the slowest call of the suite takes well under a minute."""

WARM_UP_SECONDS = 1.0
"""A first sample longer than this counts: what a warm-up saves is nothing to it."""


class CompetitorError(Exception):
    """A competitor's process ended or fell silent; its own traceback, if it had one, is on the standard error."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: samples of each competitor, and the seconds beyond which one sample is enough.

    What a sample needs prepared counts towards these seconds, though it is not part of the sample.
    """

    rounds: int
    once_above: float


@dataclass
class Record:
    """What one competitor reached on one workload."""

    samples: list[Sample] = field(default_factory=list)
    memory_growth: int = 0
    """Bytes by which the peak of its memory grew beyond what preparing the workload took."""


def run(workload: Workload, effort: Effort) -> dict[str, Record]:
    """The record of each competitor.

    Raises:
        CompetitorError: A competitor failed.
    """
    with ExitStack() as stack:
        # All are started before any is waited for, so that they prepare side by side.
        entered = [stack.enter_context(_Competitor(workload, name)) for name in workload.competitors]
        for competitor in entered:
            competitor.wait_prepared()
        for number in range(effort.rounds + 1):
            # Every other round goes backwards, so that nobody always follows the same neighbour.
            for competitor in entered if number % 2 else reversed(entered):
                competitor.take_turn(effort)
        return {competitor.name: competitor.record for competitor in entered}


class _Competitor:
    """The parent's side of a competitor's process."""

    def __init__(self, workload: Workload, name: str) -> None:
        # A fresh interpreter: a forked one would share the parent's heap and its state of the collector.
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.record = Record()
        self._workload_name = workload.name
        self._warm = False
        self._longest_turn = 0.0
        self._prepared_memory = 0
        self._channel, remote = context.Pipe()
        self._process = context.Process(target=serve, args=(remote, workload, name))
        self._process.start()
        # Only the process holds its end now, so that its death is seen as the end of the channel.
        remote.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self._channel.send(False)  # noqa: FBT003 - the message, see `serve`
            self._process.join(ANSWER_SECONDS)
        self._process.kill()
        self._process.join()
        self._channel.close()

    def wait_prepared(self) -> None:
        self._prepared_memory = self._answer()

    def take_turn(self, effort: Effort) -> None:
        """Take a sample, unless there are enough; the first warms up and counts only if it was long."""
        samples = self.record.samples
        if len(samples) == effort.rounds or (samples and self._longest_turn > effort.once_above):
            return
        started = time.monotonic()
        self._channel.send(True)  # noqa: FBT003 - the message, see `serve`
        sample, peak = self._answer()
        self._longest_turn = max(self._longest_turn, time.monotonic() - started)
        self.record.memory_growth = peak - self._prepared_memory
        if self._warm or sample.seconds > WARM_UP_SECONDS:
            samples.append(sample)
        self._warm = True

    def _answer(self) -> Any:
        if not self._channel.poll(ANSWER_SECONDS):
            message = f"{self._workload_name}: {self.name} gave no answer within {ANSWER_SECONDS} s"
            raise CompetitorError(message)
        try:
            return self._channel.recv()
        except EOFError:
            message = f"{self._workload_name}: the process of {self.name} ended early"
            raise CompetitorError(message) from None
