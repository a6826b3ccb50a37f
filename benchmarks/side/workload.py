"""What a workload is, and one repetition of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import environment
from benchmarks.peers.registry import PEERS, served

LIMIT_SECONDS = 1800

IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

LESS, MORE = "less", "more"
"""Which figure is the better one."""


@dataclass(frozen=True)
class Figure:
    """Something that is measured."""

    name: str
    title: str
    unit: str
    better: str = LESS


@dataclass
class Turn:
    """One repetition of one peer: where its files are, and what is asked of it."""

    peer: str
    size: int
    seconds: float
    directory: Path
    shared: Path
    """Where files are that all repetitions read, and none writes."""

    @property
    def path(self) -> Path:
        return self.directory / "1.log"

    def task(self, name: str, **arguments: Any) -> dict[str, float]:
        """Return what a task gives that a fresh process does for this peer."""
        arguments = {"peer": self.peer, **arguments}
        arguments = {key: str(v) if isinstance(v, Path) else v for key, v in arguments.items()}
        result: dict[str, float] = self._run("benchmarks.side.tasks", name, json.dumps(arguments))
        return result

    def _run(self, module: str, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=environment(),
            cwd=self.directory,
            check=True,
            stdout=subprocess.PIPE,
            timeout=LIMIT_SECONDS,
        )
        return json.loads(done.stdout.splitlines()[-1])

    def oo7(self, what: str, path: Path) -> Any:
        """Return what an OO7 process prints."""
        return self._run("benchmarks.oo7.run", what, self.peer, str(path))

    def filled(self, count: int) -> Path:
        """Return a store of so many things, made once in a run: not to be written."""
        place = self.shared / f"{self.peer}.{count}"
        if not place.exists() and self.peer != "plain":
            making = self.directory / "making"
            making.mkdir()
            with served(self.peer, making / "1.log", sync=False):
                self.task("fill", path=making / "1.log", count=count)
            shutil.move(making, place)  # Whoever is killed meanwhile leaves no half.
        return place / "1.log"

    def copy_of_filled(self, count: int) -> Path:
        """Return a copy of it, for this repetition."""
        shutil.copytree(self.filled(count).parent, self.directory, dirs_exist_ok=True)
        return self.path


Run = Callable[[Turn], dict[str, float]]


@dataclass(frozen=True)
class Workload:
    """One kind of work. ``sizes`` are what ``size_is`` says; 0 where there is nothing to vary."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    peers: tuple[str, ...]
    run: Run
    sizes: tuple[int, ...] = (0,)
    size_is: str = ""
    needs: tuple[str, ...] = ()
    seconds: float = 0.5
    rounds: int = 5
    free_threaded: bool = False
    """Whether it is for a Python without interpreter lock; else it is for one that has it."""
    text: str = field(default="", compare=False)
    """What exactly is done, for the page."""

    def taking_part(self) -> list[str]:
        return [peer for peer in self.peers if not set(self.needs) & set(PEERS[peer].cannot)]

    def left_out(self) -> dict[str, str]:
        """Return why peers are left out that can't do this, as they say themselves."""
        return {
            peer: PEERS[peer].cannot[need]
            for peer in self.peers
            for need in self.needs
            if need in PEERS[peer].cannot
        }
