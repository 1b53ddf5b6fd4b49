"""What a job costs, and what all jobs of a stage cost together. NaN stands for what is not known, and spreads."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

UNKNOWN = math.nan


def counted_jobs(script: str, count: int) -> "list[Job]":
    """Jobs of which nothing but their number is known."""
    unknown: dict[str, Any] = dict.fromkeys(
        ("rows", "read", "written", "forward", "backward", "flop", "serial"), UNKNOWN
    )
    return [Job(script=script, counted=True, **unknown)] * count


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the workflow.

    Attributes:
        script: that it runs.
        rows: images, database rows, or query images that it handles.
        read, written: bytes; of pixels of image sets none. temporary: bytes of `written` that are deleted once used.
        forward, backward: images that it puts through a network, and gradients of images.
        flop: operations, of networks and of searches.
        serial: seconds of one core that no other core can take over.
        parallel: seconds of one core that threads share.
        device: seconds that a GPU takes in the place of `parallel`; None: no GPU is asked for.
        threads: that the rule has.
        megabytes: peak of resident memory.
        counted: whether it is counted only, so that no plan knows more of it.
    """

    script: str
    rows: float = 0
    read: float = 0
    written: float = 0
    temporary: float = 0
    forward: float = 0
    backward: float = 0
    flop: float = 0
    serial: float = 0
    parallel: float = 0
    device: float | None = None
    threads: int = 1
    megabytes: float = UNKNOWN
    counted: bool = False

    def duration(self, gpu: bool) -> float:
        """Seconds by the clock; gpu: whether it is given a GPU where it asks for one."""
        if gpu and self.device is not None:
            return self.serial + self.device
        return self.serial + self.parallel / self.threads


@dataclass(frozen=True, kw_only=True)
class Stage:
    """All jobs of a script, or of several.

    Attributes:
        jobs: how many. reckoned: of these, whose hours are known.
        cpu_hours, gpu_hours: of all jobs; a GPU counts as long as a job holds it.
        wall_hours: of all jobs, side by side as far as cores or GPUs go, after those that they wait for.
        counted: whether all of them are counted only.
        unknown: names of numbers that are of some jobs not known; what is known is summed up then.

    Others as of `Job`, summed up; of `megabytes` the largest.
    """

    script: str
    jobs: int
    reckoned: int
    rows: float
    read: float
    written: float
    temporary: float
    forward: float
    backward: float
    flop: float
    megabytes: float
    cpu_hours: float
    gpu_hours: float
    wall_hours: float
    counted: bool
    unknown: frozenset[str]


SUMMED = ("rows", "read", "written", "temporary", "forward", "backward", "flop")
HOURS = ("cpu_hours", "gpu_hours", "wall_hours")


def stage_of(jobs: Sequence[Job], *, cores: int, gpus: int) -> Stage:
    """What jobs of one script cost.

    Args:
        jobs: at least one.
        cores: that jobs share. gpus: likewise; 0: networks compute on cores.
    """
    held = [gpus > 0 and one.device is not None for one in jobs]
    durations = [one.duration(gpus > 0) for one in jobs]
    known = [one for one in durations if not math.isnan(one)]
    cpu = [one.serial + (0 if own else one.parallel) for one, own in zip(jobs, held, strict=True)]
    gpu = [seconds for seconds, own in zip(durations, held, strict=True) if own]
    slots = gpus if any(held) else max(1, cores // max(one.threads for one in jobs))
    wall = max(max(known, default=0.0), sum(known) / slots)
    values = {name: [getattr(one, name) for one in jobs] for name in SUMMED}
    values |= {"cpu_hours": cpu, "gpu_hours": gpu, "wall_hours": durations}
    return Stage(
        script=jobs[0].script,
        jobs=len(jobs),
        reckoned=len(known),
        megabytes=largest(one.megabytes for one in jobs),
        cpu_hours=known_sum(cpu) / 3600,
        gpu_hours=known_sum(gpu) / 3600,
        wall_hours=wall / 3600,
        counted=all(one.counted for one in jobs),
        unknown=frozenset(name for name, own in values.items() if any(map(math.isnan, own))),
        **{name: known_sum(values[name]) for name in SUMMED},
    )


def stages_of(jobs: Iterable[Job], *, cores: int, gpus: int) -> list[Stage]:
    """Jobs by script, in the order of each one's first; arguments as of `stage_of`."""
    found: dict[str, list[Job]] = {}
    for one in jobs:
        found.setdefault(one.script, []).append(one)
    return [stage_of(own, cores=cores, gpus=gpus) for own in found.values()]


def together(stages: Sequence[Stage], script: str) -> Stage:
    """Several stages as one, one after the other; script: what it is called."""
    return Stage(
        script=script,
        jobs=sum(one.jobs for one in stages),
        reckoned=sum(one.reckoned for one in stages),
        megabytes=largest(one.megabytes for one in stages),
        counted=all(one.counted for one in stages),
        unknown=frozenset().union(*(one.unknown for one in stages)),
        **{name: sum(getattr(one, name) for one in stages) for name in (*SUMMED, *HOURS)},
    )


def known_sum(values: Iterable[float]) -> float:
    """Sum of what is known."""
    return sum(one for one in values if not math.isnan(one))


def largest(values: Iterable[float]) -> float:
    """The largest of what is known; UNKNOWN where nothing is."""
    return max((one for one in values if not math.isnan(one)), default=UNKNOWN)


def as_numbers(stage: Stage) -> dict[str, object]:
    """A stage as JSON holds it: null for a memory that is not known."""
    values = {one.name: getattr(stage, one.name) for one in fields(stage)}
    memory = None if math.isnan(stage.megabytes) else stage.megabytes
    return values | {"megabytes": memory, "unknown": sorted(stage.unknown)}
