"""Functions that are transactions: they are run again after a conflict, as a block can't be."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, ParamSpec, TypeVar, cast, overload

from dobbin_like.blocks.block import Block, begins_anew
from dobbin_like.contract import is_distant
from dobbin_like.exc import SelfWaitError
from dobbin_like.mistaken.arguments import check_callables, check_count, check_texts
from dobbin_like.store import Store

__all__ = ["OnRetry", "run", "run_kind", "transactional"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

OnRetry = Callable[[Exception, int], object]
"""Called before a function is run again: with the error, and how often it has failed by now."""

_RETRIES: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.002  # About as long as a few commits take.
_LONGEST_PAUSE_SECONDS: Final = 0.5
_FIRST_HELD: Final = 8
_MOST_HELD: Final = 64
"""How many calls of a function hold the lock from their beginning after a conflict: twice as many
each time, until a call that does not hold it has no conflict."""

_MOST_FUNCTIONS: Final = 1000
_GENERATOR: Final = 0x20 | 0x200  # Flags of the code of functions.
_COROUTINE: Final = 0x80
_LATER: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)


def run(
    store: Store,
    function: Callable[[], _R],
    *,
    retry: int = _RETRIES,
    note: str = "",
    user: str = "",
    on_retry: OnRetry | None = None,
) -> _R:
    """Run *function* as a transaction, again after a conflict; return what it returns.

    It is run as a block of :meth:`transaction`. Each time it sees the newest state; from the
    second time on the commit lock is held from its beginning, so that it has no conflict. After
    a conflict, its next eight calls hold the lock from their beginning, too, and twice as many
    each time that the one after them is in conflict again, up to 64 (not that of a log in
    PostgreSQL). What it does elsewhere (mails, files, counters) is done again, too: let
    ``on_retry`` see that, or use a hook of the transaction. In another block it is run once: it's
    for the outer one to run all of it again.

    A coroutine function is run as ``async with db.transaction()`` does; await what this returns.

    Args:
        retry: How often it may be run again after a transient error.
        on_retry: Called before that, with the error and how often the function has failed.

    Raises:
        TypeError: It is no function, or a generator function, whose code runs later, or has
            returned a generator or a coroutine: nothing is committed.
        ValueError: *retry* is negative.
        BlockError, UncommittedChangesError, CommittingError: See :meth:`transaction`.
    """
    _check(function)
    _check_options(retry, note, user, on_retry)
    options = _code(function), retry, note, user, on_retry or _tell_nobody
    if _flags(function) & _COROUTINE:
        return cast("_R", _run_in_task(store, cast("Any", function), *options))
    return _run_in_thread(store, function, *options)


def run_kind(
    store: Store,
    function: Callable[[], _R],
    kind: Hashable,
    *,
    retry: int,
    note: str,
    user: str,
) -> _R:
    """Run *function* as :func:`run` does; after a conflict, others of its *kind* hold the lock."""
    return _run_in_thread(store, function, kind, retry, note, user, _tell_nobody)


def _run_in_thread(
    store: Store,
    function: Callable[[], _R],
    kind: Hashable,
    retry: int,
    note: str,
    user: str,
    on_retry: OnRetry,
) -> _R:
    holds_lock = _count_call(store, kind) and begins_anew(store)
    for failures in range(1, retry + 2):
        block: Block[Any] = Block(store, note=note, user=user)
        try:
            if holds_lock:
                holds_lock = _take_lock(store)
            with block:
                result = _done(function, function())
        except Exception as error:
            if failures > retry or not block.transient:
                raise
            on_retry(error, failures)
        else:
            _note_no_conflict(store, kind, held=holds_lock)
            return result
        finally:
            if holds_lock:
                store.release_early()
        # Two locks, the second of which is not the later one in order, might be waited for in
        # a circle; then chance has to decide who goes first.
        holds_lock = block.participants == 1
        if holds_lock:
            _note_conflict(store, kind)
        else:
            time.sleep(pause_seconds(failures))
    raise AssertionError  # The last failure was raised.


def _tell_nobody(_error: Exception, _failures: int) -> None:
    pass


def _take_lock(store: Store) -> bool:
    """Take the commit lock, unless a signal handler asks in the middle of that; tell if it was."""
    try:
        store.manager().acquire_early()
    except SelfWaitError:  # What the thread holds, or is taking, is not for the handler to give.
        return False
    return True


async def _run_in_task(
    store: Store,
    function: Callable[[], Awaitable[_R]],
    kind: Hashable,
    retry: int,
    note: str,
    user: str,
    on_retry: OnRetry,
) -> _R:
    import asyncio

    holds_lock = _count_call(store, kind)
    for failures in range(1, retry + 2):
        block: Block[Any] = Block(store, note=note, user=user, holds_lock=holds_lock)
        try:
            async with block:
                result = _done(function, await function())
        except Exception as error:
            if failures > retry or not block.transient:
                raise
            on_retry(error, failures)
        else:
            _note_no_conflict(store, kind, held=holds_lock)
            return result
        holds_lock = block.participants == 1
        if holds_lock:
            _note_conflict(store, kind)
        else:
            await asyncio.sleep(pause_seconds(failures))
    raise AssertionError  # The last failure was raised.


def _count_call(store: Store, kind: Hashable) -> bool:
    """Count a call of the *kind*; return whether it is to hold the lock from its beginning."""
    left, each_time = store.contended.get(kind, (0, 0))
    if left:
        store.contended[kind] = left - 1, each_time
    return left > 0


def _note_conflict(store: Store, kind: Hashable) -> None:
    """Let the next calls of the *kind* hold the lock, more of them than after the one before."""
    if is_distant(store.storage):
        return  # To hold its lock takes a connection, and a round trip more for each call.
    if len(store.contended) >= _MOST_FUNCTIONS:
        store.contended.clear()
    if kind is not None:
        _, before = store.contended.get(kind, (0, 0))
        calls = min(before * 2, _MOST_HELD) or _FIRST_HELD
        store.contended[kind] = calls, calls


def _note_no_conflict(store: Store, kind: Hashable, *, held: bool) -> None:
    """Forget the conflicts of a *kind* of call that had none, not having *held* the lock."""
    if store.contended and not held:
        left, _ = store.contended.get(kind, (0, 0))
        if not left:
            store.contended.pop(kind, None)


def pause_seconds(failures: int) -> float:
    """Return how long to wait before the next attempt: by chance, longer after each failure."""
    longest = min(_FIRST_PAUSE_SECONDS * 2**failures, _LONGEST_PAUSE_SECONDS)
    return random.uniform(0, longest)


@overload
def transactional(store: Store, function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
@overload
def transactional(
    store: Store,
    /,
    *,
    retry: int = _RETRIES,
    note: str = "",
    user: str = "",
    on_retry: OnRetry | None = None,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def transactional(store: Store, function: Any = None, /, **options: Any) -> Any:
    """Decorate a function: each call is a transaction, as with :meth:`run`, of these options."""
    if function is None:
        return functools.partial(_transactional, store, **_checked_options(**options))
    return _transactional(store, function, **options)


def _transactional(store: Store, function: Any, **options: Any) -> Any:
    _check(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = functools.partial(function, *args, **kwargs)
        return run(store, bound, **options)

    return call


def _code(function: Callable[..., object]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    method = function if hasattr(function, "__code__") else type(function).__call__
    return getattr(method, "__code__", None)


def _flags(function: Callable[..., object]) -> int:
    code = _code(function)
    return 0 if code is None else int(code.co_flags)


def _checked_options(**options: Any) -> dict[str, Any]:
    """Return the options of run(), checked."""
    known: dict[str, Any] = {"retry": _RETRIES, "note": "", "user": "", "on_retry": None}
    for name in options:
        if name not in known:
            text = f"{name} is no option of transactional(), expected one of {', '.join(known)}"
            raise TypeError(text)
    _check_options(**(known | options))
    return options


def _check_options(retry: int, note: str, user: str, on_retry: OnRetry | None) -> None:
    """Raise TypeError or ValueError for what can't be an option of run()."""
    if type(retry) is not int:
        check_count("retry", retry)
    if retry < 0:
        text = f"retry is {retry}, expected 0 or more: how often it may be run again"
        raise ValueError(text)
    if note or user or on_retry is not None:
        check_texts(note=note, user=user)
        check_callables(on_retry=on_retry)


def _check(function: Any) -> None:
    """Raise TypeError for what can't be run in a transaction."""
    if not callable(function):
        text = f"expected a function, not {type(function).__name__}; give it without calling it"
        raise TypeError(text)
    if _flags(function) & _GENERATOR:
        text = (
            f"{_name(function)} is a generator function: its code would run after the "
            "transaction; use a block in it"
        )
        raise TypeError(text)


def _done(function: Callable[..., object], result: _R) -> _R:
    """Return *result*; raise TypeError if it is code that would run after the transaction."""
    if isinstance(result, _LATER):
        if not isinstance(result, AsyncGeneratorType):  # It has not begun, nor needs to end.
            cast("Any", result).close()
        kind = type(result).__name__.replace("_", " ")
        instead = (
            "pass the coroutine function itself, its arguments by functools.partial()"
            if isinstance(result, CoroutineType)
            else "let it return a list, or use a block in the generator"
        )
        text = (
            f"{_name(function)} has returned a {kind}, whose code would run after the "
            f"transaction; {instead}"
        )
        raise TypeError(text)
    return result


def _name(function: Callable[..., object]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__qualname__)
