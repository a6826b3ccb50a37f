"""What the system refuses, told apart from what a signal handler raises.

Both may be an OSError: a handler that limits the time raises TimeoutError. That of a system call
has an ``errno``.
"""

from __future__ import annotations


class if_possible:  # noqa: N801  read as a statement: with if_possible()
    """Go on behind the block if the system refuses what it does: it is not needed.

    What a signal handler raises is passed on, whatever it is.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, OSError) and error.errno is not None
