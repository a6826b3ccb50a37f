"""A transaction as a program writes it: a block, from its snapshot to its end.

A block begins a transaction of the database's transaction manager, and ends it in any case. A
block in a block is a savepoint of the same transaction, also if it is one of another database
with the same manager: what the outer block commits is committed in both, or in none.
"""

from __future__ import annotations

import contextlib
import weakref
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn

from transaction.interfaces import NoTransaction, TransientError

from dobbin_like.blocks.under_way import (
    EnteredBlock,
    doom,
    entered_here,
    goes_on,
    has_changes,
    is_in,
    of_thread,
    task_of,
)
from dobbin_like.exc import (
    BlockError,
    CommittingError,
    UncommittedChangesError,
    UncommittedChangesWarning,
)
from dobbin_like.late import of_database
from dobbin_like.mistaken.arguments import check_texts
from dobbin_like.objects.values.here import (
    HOW_TO_TELL_APART,
    current_scope,
    current_task,
    scope_of_context,
)
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.processes.left import was_left
from dobbin_like.store import RootT, Store
from dobbin_like.transactions.commit.joining import note_block, only_reads
from dobbin_like.transactions.data_manager import uncommitted_in
from dobbin_like.transactions.in_commit import COMMITTING, DECIDED
from dobbin_like.transactions.package_internals import participants_of, transaction_of
from dobbin_like.warn_outside import warn_outside

__all__ = ["Block", "reading", "transaction"]


_LEFT: Final = (
    "an interrupt, or a generator that was not run to its end, has kept a block in it from its "
    "end, and what was changed there can't be told from the rest; all of it is taken back"
)


def begins_anew(store: Store) -> bool:
    """Tell whether a block of the calling thread would be no part of a transaction under way.

    In a signal handler, that may be one that is committing, or is about to begin.
    """
    own = store.manager().transaction_manager
    if own.explicit or store.storage.held:
        return False
    if any(block() is not None for block, _, _ in entered_here()):
        return False
    return getattr(transaction_of(own), "status", None) != COMMITTING


@of_database
def transaction(
    database: Any, *, note: str = "", user: str = "", retry: int | None = None
) -> Block[Any]:
    """Return a context manager: a transaction, from its snapshot to its commit or abort.

    It gives the root. The snapshot is taken when the block begins, and covers objects that were
    handed to this thread. The end of the block commits; an exception that leaves it aborts. In
    another block of this thread, or in a transaction that a framework has begun (explicit mode),
    it is a savepoint: an exception takes back what was changed in it, and the outer one commits
    the rest. A block can't be run again after a conflict, a function can: see :meth:`run`.

    Args:
        note: What the transaction is for; history and log show it.
        user: Who makes it.
        retry: Is refused, and says what to do instead.

    Raises:
        TypeError: *retry* is given, or *note* or *user* is no string.
        BlockError: The block is entered twice, or in one that only reads, or left by another
            thread; or its transaction was ended in it.
        UncommittedChangesError: The thread has changes that no block has made.
        CommittingError: The thread is committing.
        ConflictError, LockTimeout, InDoubtError, OSError: As a commit raises them.
    """
    if retry is not None:
        text = (
            "a block can't be run again, a function can: db.run(function, retry=5), or "
            "@db.transactional(retry=5) above it"
        )
        raise TypeError(text)
    if note or user:
        check_texts(note=note, user=user)
    return Block(database._store, note, user)


def reading(store: Store) -> Block[Any]:
    """Return a context manager: a snapshot for those who only read. It gives the root.

    In a block of :meth:`transaction` it shows what was changed there.

    Raises:
        BlockError: An object was to be checked out in it; or see :meth:`transaction`.
        UncommittedChangesError, CommittingError: See :meth:`transaction`.
    """
    return Block(store, only_reads=True)


class Block(Generic[RootT]):
    """What ``db.transaction()`` and ``db.reading()`` return: for one ``with`` of one thread.

    Or for one ``async with``: then the task has a snapshot and changes of its own.
    """

    # Here, as most blocks never set them, and a block costs little beside a small transaction.
    transient: bool = False  # Whether it has failed and may be run again.
    participants: int = 0  # How many databases and others took part in what has failed.
    is_part: bool = False  # Of a transaction that somebody else ends; known when entered.
    _is_aborting: bool = False  # Its abort was begun, and perhaps interrupted.
    _point: Any = None  # The savepoint, if it is a part that may change something.
    _owner: Any = None  # The thread that has entered it, or the scope of its task.
    _in_task: Any = None  # What async with has begun.

    def __init__(
        self,
        store: Store,
        note: str = "",
        user: str = "",
        *,
        only_reads: bool = False,
        is_shared: bool = False,
        holds_lock: bool = False,
    ) -> None:
        self._store = store
        self._note, self._user = note, user
        self._only_reads = only_reads
        self._is_shared = is_shared  # By the tasks and threads that the task asks.
        self._holds_lock = holds_lock  # From its beginning, for a task.

    def __enter__(self) -> RootT:
        """Begin; return the root."""
        if self._owner is not None:
            self._refuse("it was entered before; make a new one for each with statement")
        self._data = data = self._store.manager()
        own = self._own = data.thread.transaction_manager()
        scope = None if scope_of_context() is None else current_scope()
        entered = of_thread.blocks if scope is None else scope.entered
        try:
            current = own._txn  # noqa: SLF001  As transaction_of() does, without a call.
        except AttributeError:
            current = transaction_of(own)
        if current is not None or entered:
            current = self._under_way(current, entered)
        if current is None:
            current = own.begin()
            if self._user:
                current.user = self._user
            note_block(current, self._only_reads)
            data.thread.ends_with_block = True
        else:
            self._take_part(current)
        if self._note:
            current.note(self._note)
        self._transaction = current
        root: RootT = self._store.root_seen_by(data)
        self._owner = scope or get_ident()
        self._entered = entered
        self._depth = len(entered)
        task = current_task() if scope is None else task_of(scope)
        # Last, and not by a call: no interrupt comes before the block has begun.
        entered += [(weakref.ref(self, doom), current, task)]
        return root

    if not TYPE_CHECKING:  # Type checkers know that it can't be called.

        def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
            text = (
                "a block is no decorator and no function: use it by with, or "
                "@db.transactional(), which lets each call of a function be a transaction"
            )
            raise TypeError(text)

    def _take_part(self, current: Any) -> None:
        self.is_part = True
        if not self._only_reads:
            if only_reads(current):
                self._refuse("it is in a block that only reads")
            self._point = self._own.savepoint(optimistic=True)

    def _refuse_committing(self, current: Any) -> None:
        if current.status == COMMITTING or self._own.explicit:
            raise CommittingError(self._store.storage.path)

    def _under_way(self, current: Any, entered: list[EnteredBlock]) -> Any:
        """Return the transaction of which this block becomes a part; None: there is none."""
        own = self._own
        while entered and was_left(entered[-1][0]()):
            if entered[-1][1] is current:
                if own.explicit or is_in(entered[:-1], current):
                    self._refuse(_LEFT)
                own.abort()
                current = None
            entered.pop()
        if current is not None and current.status in DECIDED:
            # A hook after its commit gets a transaction of its own.
            return self._refuse_committing(current)
        if is_in(entered, current) and entered[-1][2] is not task_of(current_scope()):
            self._refuse(f"another task of this thread is in one; {HOW_TO_TELL_APART}")
        if current is None or own.explicit or is_in(entered, current):
            return current
        if has_changes(current):
            raise self._store.manager().uncommitted()
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Nothing may be called outside of the try: that lets an interrupt come.
        dropped, is_owner = None, True
        try:
            scope = scope_of_context()
            me = get_ident() if scope is None else current_scope() or get_ident()
            is_owner = self._owner == me
            if not is_owner:
                self._refuse_to_leave()
            if error is None:
                self._end()
        except BaseException as failure:
            error = failure
            raise
        finally:
            try:
                if error is not None and is_owner:
                    if isinstance(error, GeneratorExit) and not self.is_part:
                        dropped = uncommitted_in(self._transaction)
                    finish_despite_interrupts(partial(self._take_back, error))
            finally:  # Else the next block would be a part of a transaction that nobody ends.
                if is_owner:
                    del self._entered[self._depth :]
            if dropped is not None:  # Last: a warning may be raised as an error.
                _tell_dropped(dropped)

    async def __aenter__(self) -> RootT:
        """Begin in a scope of this task; return the root."""
        from dobbin_like.blocks.tasks import BlockInTask

        in_task = BlockInTask(self._store, is_shared=self._is_shared, holds_lock=self._holds_lock)
        await in_task.begin()
        try:
            root = self.__enter__()
            self._in_task = in_task  # Not before: the block may have been entered already.
        except BaseException:
            in_task.end()
            raise
        return root

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from dobbin_like.blocks import tasks

        in_task = self._in_task or self._refuse("it was not entered by async with")
        if self._owner != (current_scope() or get_ident()):
            # What is left of an async generator is ended by the loop, in a task for that.
            if not tasks.ends_generator(error):
                self._refuse_to_leave()
            if not in_task.has_scope:
                self._leave_part()
                return
            tasks.take_scope(self._owner)
        try:
            if error is None and len(self._entered) > self._depth + 1:
                try:
                    await tasks.let_generators_end()
                except BaseException as stopped:
                    self.__exit__(type(stopped), stopped, stopped.__traceback__)
                    raise
            is_own = not self.is_part and current_scope() is not None
            if error is None and is_own and participants_of(self._transaction):
                await tasks.in_thread(lambda: self.__exit__(None, None, None))
            elif in_task.holds_lock:  # Its thread has to give it back.
                tasks.in_thread_at_once(lambda: self.__exit__(kind, error, traceback))
            else:
                self.__exit__(kind, error, traceback)
        finally:
            in_task.end()

    def _leave_part(self) -> None:
        """End a block in one of another task, which goes on if nothing was changed in this one."""
        left = len(self._entered) - self._depth
        if left > 1 or (left == 1 and not self._only_reads):
            self._refuse_to_leave()
        del self._entered[self._depth :]

    def _end(self) -> None:
        if len(self._entered) > self._depth + 1:
            self._refuse_inner()
        if self.is_part:
            return
        current = self._transaction
        try:
            ended = self._own._txn is not current  # noqa: SLF001
            participants = current._resources  # noqa: SLF001
        except AttributeError:
            ended = transaction_of(self._own) is not current
            participants = participants_of(current)
        if ended:
            reason = "its transaction was ended in it; leave begin, commit and abort to the block"
            self._refuse(reason)
        if self._only_reads:
            self._own.abort()
            return
        if not participants:
            self._store.check_values()
        elif len(participants) > 1:
            self._store.release_early()  # Their locks are taken in order.
        self._own.commit()  # By the manager: its class may do more than that of the package.

    def _refuse_inner(self) -> NoReturn:
        if all(was_left(block()) for block, _, _ in self._entered[self._depth + 1 :]):
            self._refuse(_LEFT)
        # Of a generator, say, which goes on later.
        self._refuse("a block that was entered in it has not ended")

    def _take_back(self, error: BaseException) -> None:
        """Undo what was done in the block. May be repeated after an interrupt."""
        if self.is_part:
            current = self._transaction
            # Else somebody has ended it, or will have to.
            if (
                self._point is not None
                and transaction_of(self._own) is current
                and goes_on(current)
            ):
                self._point.rollback()
            return
        if not self._is_aborting:  # Else none may be left.
            resources = participants_of(self._transaction)
            self.participants = len(resources)
            self.transient = isinstance(error, TransientError) or any(
                resource.should_retry(error)
                for resource in resources
                if hasattr(resource, "should_retry")
            )
        elif transaction_of(self._own) is None:
            self._own.begin()  # Perhaps not all were told that it has ended: another one tells.
        self._is_aborting = True
        with contextlib.suppress(NoTransaction):
            self._own.abort()
        self._data.let_go()  # Else the end of the transaction has done it.

    def _refuse_to_leave(self) -> NoReturn:
        why = (
            "it was not entered"
            if self._owner is None
            else "another thread or task has entered it"
        )
        self._refuse(why)

    def _refuse(self, reason: str) -> NoReturn:
        raise BlockError(self._store.storage.path, reason)


def _tell_dropped(first: UncommittedChangesError) -> None:
    """Warn of changes that went with a generator: the exception that ends it reaches nobody."""
    text = (
        f"{first.path}: a generator with an open transaction block was not run to its end: what "
        f"was changed meanwhile (in {first.class_name} oid {first.oid}), also by its caller, "
        "is dropped; open blocks around generators"
    )
    warn_outside(text, UncommittedChangesWarning)
