"""The process of one competitor: it prepares its copy of the workload, then takes a sample each time it is asked."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from benchmarks.sampling import peak_memory, take_sample

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchmarks.workloads import Workload


def serve(channel: Connection, workload: Workload, competitor: str) -> None:
    """Prepare and send the peak memory; then, as long as the channel gives True, a sample and the peak so far."""
    measure = workload.prepare(competitor)
    # What preparing left behind is not to be collected on the clock.
    gc.collect()
    channel.send(peak_memory())
    while channel.recv():
        channel.send((take_sample(measure), peak_memory()))
