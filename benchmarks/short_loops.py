"""``python -m benchmarks.short_loops``: samplings of engines beside PyTorch's ten steps, a photo each in turn.

Each has a process of its own, all are opened first, and then they take turns: what else the machine does falls on all
of them alike. The first one given is 1.0.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter, process_time
from typing import Any

from runtime.cli.command import Parser, photo_size, run_command

from .photos import synthetic

PYTORCH = "pytorch"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m benchmarks.short_loops", description="Engines and samplings timed in turns.")
    what = "such as openvino:build/full-int8:fast; pytorch:CHECKPOINT:10 is PyTorch eager in fp32 with 10 steps"
    parser.add_argument("what", nargs="+", metavar="BACKEND:PACKAGE:SAMPLING", help=what)
    parser.add_argument("--size", type=photo_size, default=(600, 400), metavar="WxH", help="default: 600x400")
    parser.add_argument("--turns", type=int, default=7, metavar="N", help="of each, after one to warm up (default: 7)")
    args = parser.parse_args(argv)
    for one in args.what:
        if one.count(":") != 2:
            parser.error(f"{one!r} is not BACKEND:PACKAGE:SAMPLING")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    spawn, pipes = get_context("spawn"), []
    for what in args.what:
        ours, theirs = spawn.Pipe()
        spawn.Process(target=_work, args=(what, args.size, theirs), daemon=True).start()
        pipes.append(ours)
        ours.recv()  # opened: one after the other
    times: list[list[float]] = [[] for _ in pipes]
    work: list[list[float]] = [[] for _ in pipes]
    stages: list[list[dict[str, float]]] = [[] for _ in pipes]
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    for turn in range(-1, args.turns):
        for index, pipe in enumerate(pipes):
            pipe.send(True)
            seconds, busy, parts = pipe.recv()
            print(f"turn {turn + 1}: {args.what[index]} {seconds:.2f} s", file=sys.stderr)  # of a killed run too
            if turn >= 0:
                times[index].append(seconds)
                work[index].append(busy)
                stages[index].append(parts)
    for pipe in pipes:
        pipe.send(False)
    print(f"load average after: {os.getloadavg()[0]:.2f}\n")
    print("| what | median (s) | fastest (s) | times as fast | by the fastest | CPU time (s), median | ms by part |")
    print("|---|---|---|---|---|---|---|")
    for what, own, busy, parts in zip(args.what, times, work, stages, strict=True):
        shown = ", ".join(f"{name} {median(one[name] for one in parts):.1f}" for name in parts[0])
        ratios = f"{median(times[0]) / median(own):.1f} | {min(times[0]) / min(own):.1f}"
        print(f"| {what} | {median(own):.3f} | {min(own):.3f} | {ratios} | {median(busy):.3f} | {shown} |")
    return 0


def _work(what: str, size: tuple[int, int], pipe: Connection) -> None:
    """Answers each message with a photo's seconds, the CPU's seconds for it, and the milliseconds of its parts."""
    backend, path, sampling = what.split(":")
    photo = synthetic(*size)
    runner: Any
    if backend == PYTORCH:
        from .job import Job
        from .pytorch_runner import PyTorchRunner

        runner = PyTorchRunner(Job(PYTORCH, "", int(sampling), "ddim", checkpoint=path, variant="eager fp32"))
    else:
        from runtime import Enhancer

        runner = Enhancer.open(path, backend=backend)
    pipe.send("opened")
    while pipe.recv():
        started, before = perf_counter(), process_time()
        if backend == PYTORCH:
            runner.run(photo)
        else:
            runner(photo, sampling=sampling)
        seconds = perf_counter() - started
        pipe.send((seconds, process_time() - before, dict(runner.stages if backend == PYTORCH else runner.timings)))


if __name__ == "__main__":
    run_command(main)
