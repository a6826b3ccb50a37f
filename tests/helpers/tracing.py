"""A tracer for a block; behind it the tracer that was there is there again.

The one that was there may be that of a debugger or of a measurement of coverage.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def tracing(function: Any, *, threads: bool = False) -> Iterator[None]:
    """Let *function*, or nobody, trace the block; with *threads*, those begun in it as well."""
    before, before_in_threads = sys.gettrace(), threading.gettrace()
    if threads:
        threading.settrace(function)
    sys.settrace(function)
    try:
        yield
    finally:
        sys.settrace(before)
        if threads:
            threading.settrace(before_in_threads)  # type: ignore[arg-type]
