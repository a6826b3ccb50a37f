"""What can go wrong in a simulation: what is injected, and what is found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FoundFault", "Injected", "Killed"]


class Killed(BaseException):
    """The simulated process was killed: none of its threads does anything any more."""


class FoundFault(AssertionError):
    """What was simulated has broken a promise; the text says which."""


@dataclass
class Injected:
    """How likely the disk fails, at each call that may.

    A sync that fails loses the pages: the next one succeeds, and they may not be on the device.
    ``sync_told_once`` says that one that writes gets the error, as on old systems; else each that
    has the file open does. ``evict`` is how likely the system drops these pages from its cache as
    well, ``full`` how likely a disk is full, ``split`` how likely others see half of a write.
    """

    sync: float = 0.0
    sync_told_once: bool = True
    evict: float = 0.0
    full: float = 0.0
    split: float = 0.4

    def none(self) -> None:
        """Let nothing fail any more."""
        self.sync = self.full = self.evict = 0.0
