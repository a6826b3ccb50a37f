"""Limits of the system, for as long as a block runs."""

from __future__ import annotations

import contextlib
import resource
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let no file grow over *size* bytes.

    No bytecode either: the cached file of a module that is imported meanwhile would be cut, and
    fail all that import it later.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sys.dont_write_bytecode = writes
