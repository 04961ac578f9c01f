"""What other work on the same cores does to training on a CPU, and how long threads should wait for each other.

A step of training is timed in processes that differ in an environment variable alone, once while nothing else runs and
once while every core has a process that computes without end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.ratios import arguments, measure, save

_TRAINER = """
import sys, torch
from torch.nn.functional import cross_entropy
import noiseproof as npf

torch.manual_seed(0)
model = npf.build_model("resnet8-cifar", 10, 128, in_channels=3, width=24, stem_stride=2)
model = model.to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
images = torch.rand(256, 3, 32, 32).contiguous(memory_format=torch.channels_last)
labels = torch.randint(10, (256,))
for _ in sys.stdin:
    optimizer.zero_grad()
    cross_entropy(model(images), labels).backward()
    optimizer.step()
    print(flush=True)
"""
_OTHER_WORK = "while True: sum(range(100_000))"


@contextmanager
def process(code: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code], env={**os.environ, **environment}, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def a_step(trainer: subprocess.Popen[str]) -> Callable[[], None]:
    given, answered = trainer.stdin, trainer.stdout

    def step() -> None:
        print(file=given, flush=True)
        if answered is not None:
            answered.readline()

    return step


def main() -> None:
    options = arguments(__doc__ or "")
    cores = len(os.sched_getaffinity(0))
    ratios = []
    with ExitStack() as stack:
        usual, patient, alone = (
            a_step(stack.enter_context(process(_TRAINER, **environment)))
            for environment in ({}, {"OMP_WAIT_POLICY": "PASSIVE"}, {"OMP_NUM_THREADS": "1"})
        )
        for when in ("idle", "busy"):
            if when == "busy":
                for _ in range(cores):
                    stack.enter_context(process(_OTHER_WORK))
            ratios += [
                measure(f"OMP_WAIT_POLICY=PASSIVE against the default, {when}", patient, usual, rounds=options.rounds),
                measure(f"one thread against the default, {when}", alone, usual, rounds=options.rounds),
            ]
    save(options.json, ratios)


if __name__ == "__main__":
    main()
