"""A request as a transaction: when it is one, when it is run again, when it is taken back."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from dobbin_like.blocks.again import run_kind
from dobbin_like.store import Store

__all__ = ["Answer", "Refused", "Rules", "answered"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the middleware of all frameworks takes as keyword arguments.

    Args:
        retry: How often a request may be run again after a conflict.
        replay_bytes: The longest body that is kept in memory for that. A request with a longer
            one is run once.
        read_methods: Requests of these methods only read, in a snapshot; a checkout is refused.
        abort_from: An answer with this status or a higher one takes the changes back.
        skip: A function of the method and the path; if it is true, the request is left alone.
    """

    retry: int = 10
    replay_bytes: int = 1024 * 1024
    read_methods: Collection[str] = ("GET", "HEAD", "OPTIONS")
    abort_from: int = 400
    skip: Callable[[str, str], bool] = lambda _method, _path: False

    in_use: ClassVar[bool] = False
    """Whether this process has a middleware."""

    def __post_init__(self) -> None:
        """Note that there is a middleware: each of them has rules."""
        Rules.in_use = True


@dataclass(kw_only=True)
class Answer:
    """What one attempt has answered. *error* is what the framework has made an answer of."""

    status: int
    response: Any
    error: BaseException | None = None
    discard: Callable[[], object] = lambda: None


class Refused(Exception):
    """The answer says that nothing is to be stored. A block sees it, and nobody else."""


def answered(
    store: Store,
    rules: Rules,
    attempt: Callable[[], Answer],
    *,
    retry: int,
    note: str = "",
    user: str = "",
) -> Answer:
    """Return the answer of the first attempt that commits or need not; raise what it raises."""
    last: Answer | None = None

    def once() -> Answer:
        nonlocal last
        if last is not None:
            last.discard()
        last = None
        last = attempt()
        if last.error is not None:
            raise last.error
        if last.status >= rules.abort_from:
            raise Refused
        return last

    try:
        # The note: pages that are not in conflict need not wait for each other.
        return run_kind(store, once, note, retry=retry, note=note, user=user)
    except BaseException as error:
        if last is None:
            raise
        if isinstance(error, Refused) or error is last.error:
            return last
        last.discard()
        raise
