"""What was measured, in a file of JSON that several runs add to."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.registry import versions

Samples = dict[str, list[float]]
"""A figure, and what it was in each repetition."""


def read(path: Path) -> dict[str, Any]:
    """Return what is in the file; what an empty one has, if there is none."""
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found
    return {"machine": {}, "side": {}, "oo7": {}, "rows": {}}


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the file anew."""
    text = json.dumps(found, indent=1, sort_keys=True)
    path.write_text(text + "\n", "utf-8")


def added(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return what two runs of a workload have found: all repetitions of both."""
    result = dict(before)
    for size, each in found.items():
        old = before.get(size, {"samples": {}, "disturbed": []})
        samples = dict(old["samples"])
        for peer, figures in each["samples"].items():
            known = samples.get(peer, {})
            samples[peer] = {name: known.get(name, []) + more for name, more in figures.items()}
        result[size] = {"samples": samples, "disturbed": old["disturbed"] + each["disturbed"]}
    return result


def machine(directory: Path) -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}"
        + (", free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""),
        "processors": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{_memory_gib():.0f} GiB",
        "system": f"Linux {platform.release().partition('-')[0]}",
        "file system": _file_system(directory),
        "date": datetime.now(UTC).date().isoformat(),
        **{f"version of {name}": version for name, version in versions().items()},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _file_system(directory: Path) -> str:
    best = ("", "")
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if directory.resolve().is_relative_to(place) and len(place) > len(best[0]):
            best = place, kind
    return best[1]


class Disturbance:
    """How much of the processors others took: of 1, between making it and asking."""

    def __init__(self) -> None:
        self._before = _busy_seconds(), _own_seconds(), os.times().elapsed

    def share(self) -> float:
        """Return what part of all processors was busy with what is not ours."""
        busy, own, elapsed = self._before
        others = (_busy_seconds() - busy) - (_own_seconds() - own)
        return max(0.0, others / ((os.times().elapsed - elapsed) * (os.cpu_count() or 1)))


def _busy_seconds() -> float:
    user, nice, system, _idle, _wait, *interrupts = map(
        int, Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:]
    )
    # Guests are counted among the users already.
    ticks = user + nice + system + sum(interrupts[:3])
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def median(samples: list[float]) -> float:
    return statistics.median(samples)


def spread(samples: list[float]) -> float:
    """Return how far the samples are apart: greatest less least, by the median."""
    middle = statistics.median(samples)
    return (max(samples) - min(samples)) / middle if middle else 0.0
