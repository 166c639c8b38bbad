"""Benchmarks of `dask_ferris`, run as `python -m benchmarks` (`make bench`).

These are micro-benchmarks: they catch regressions and show what a task costs.
They do not predict how much faster a program gets whose tasks do real work.

How it is measured:
    One process per competitor and workload; the competitors take turns, round by round, so that a change of the machine
    meets them all and a ratio is always taken within one run.
    A sample is the mean of as many calls as fill 50 ms, at least one; only the call is timed, not making its input nor
    dropping its result. The median of five samples is reported, with the least and the greatest.
    The garbage collector is left on, as users have it, so everybody pays for the garbage they make, and, as each has a
    process of its own, for no other's. One full collection runs before the first sample, so that nobody pays for
    preparing the workload.
"""
