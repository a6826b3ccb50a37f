"""The transactions of a safe.

Each takes the commit lock before it begins, so that it works on the newest state, has no
conflict and is never run twice. Readers do not wait. It is independent of the transactions of
``transaction.manager``, and of those of the blocks of tasks: each step is done out of them.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from transaction.interfaces import NoTransaction

from dobbin_like.database import Database, store_of
from dobbin_like.exc import BlockError, ClosedError, LogMovedError, LogPackedError, SelfWaitError
from dobbin_like.objects.values.here import current_task, out_of_block
from dobbin_like.persistent import checkout
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.processes.left import was_left

if TYPE_CHECKING:

    class ThreadTransactionManager:
        """Told here: the transaction package has no types."""

        manager: Any

        def begin(self) -> object: ...
        def commit(self) -> None: ...
        def abort(self) -> None: ...
        def savepoint(self) -> Any: ...

else:
    from transaction import ThreadTransactionManager


_OTHER_TASK: Final = (
    "another task is in a block of this safe, in the same thread; leave out await in the block, "
    "or call a function with the block in a thread, as asyncio.to_thread() does"
)


class Managers(ThreadTransactionManager):
    """A transaction manager for each thread, in explicit mode."""

    def __init__(self) -> None:
        super().__init__()
        self.manager.explicit = True


class Group:
    """One transaction of one thread. A rollback calls the functions in ``undone``.

    ``block``: it is a block of the program, whose changes are part of it; else it is one change.
    """

    def __init__(self, *, block: bool) -> None:
        self.block = block
        task = current_task() if block else None
        self._task = None if task is None else weakref.ref(task)
        self.has_task: bool = task is not None
        self.entered: list[weakref.ref[Any]] = []  # The blocks in it, the innermost last.
        self.undone: list[Callable[[], object]] = []

    def is_of_other_task(self) -> bool:
        """Tell whether the task that has begun it waits, and another one of its thread runs.

        One that was begun out of all tasks is that of each task in it.
        """
        return self._task is not None and self._task() is not current_task()


class _Local(threading.local):
    group: Group | None = None


class Groups:
    """The transactions of one safe. Each thread has its own."""

    def __init__(self, database: Database, managers: Managers) -> None:
        self._database = database
        self._managers = managers
        self._local = _Local()
        # A change was told that the path leads to another file, or to none.
        self.moved: bool = False
        self.had_task: bool = False  # A block was in a task; else, readers need not ask.

    @property
    def current(self) -> Group | None:
        """The transaction of the calling thread, None if it is in none.

        Raises BlockError if it is a block of another task.
        """
        group = self._local.group
        if group is not None and group.entered:
            self._end_left(group)
            group = self._local.group
            if group is not None and group.is_of_other_task():
                raise BlockError(self._database.storage.path, _OTHER_TASK)
        return group

    def _end_left(self, group: Group) -> None:
        """End the blocks that an interrupt has left while somebody handles it."""
        while group.entered:
            block = group.entered[-1]()
            if block is None:  # It has ended with what had it.
                group.entered.pop()
            elif was_left(block):
                block.end_left()
            else:
                return

    @contextlib.contextmanager
    def outer(self, *, block: bool = False) -> Iterator[Group]:
        """Run a block as a transaction. Raises SelfWaitError if the thread is in one."""
        if self._local.group is not None:
            raise SelfWaitError(self._database.storage.path)
        group = Group(block=block)
        self.had_task = self.had_task or group.has_task
        try:
            yield from self._run(group)
        except BaseException:
            self._end(group)  # An interrupt may have prevented the other call.
            for undo in reversed(group.undone):
                undo()
            raise

    def _run(self, group: Group) -> Iterator[Group]:
        try:
            self._begin(group)
            yield group
            if self._local.group is group:  # Not in a child that was forked in the block.
                self._commit()
        finally:
            self._end(group)

    @out_of_block
    def _commit(self) -> None:
        self._managers.commit()

    @out_of_block
    def _begin(self, group: Group) -> None:
        if self._database.closed:
            what = f"the safe {self._database.storage.path}"
            raise ClosedError(what)
        self._local.group = group
        try:
            store_of(self._database).manager().acquire_early()
        except LogMovedError as error:
            self.moved = not isinstance(error, LogPackedError)
            raise
        self._abort()  # What an interrupt has kept from its end.
        self._managers.begin()
        root = self._database.root
        if root is not None:
            checkout(root)

    @out_of_block
    def _end(self, group: Group) -> None:
        if self._local.group is group:
            finish_despite_interrupts(self._take_back)

    def _take_back(self) -> None:
        """Drop what is not committed, and let others go on. May be repeated after an interrupt."""
        try:
            self._abort()
        except Exception:  # The next transaction aborts what is left.
            self._let_go()
            raise
        self._let_go()

    def _abort(self) -> None:
        with contextlib.suppress(NoTransaction):
            self._managers.abort()
            # It is there still: an interrupt came when it was over, and would have been freed.
            own = self._managers.manager
            own.free(own.get())
        manager = store_of(self._database).graph.local.manager
        if manager is not None and manager.pending:
            # An interrupt came before abort() has told who takes part; a new one tells it.
            self._managers.begin()
            self._managers.abort()

    def _let_go(self) -> None:
        store_of(self._database).release_early()
        self._local.group = None

    @contextlib.contextmanager
    def inner(self, group: Group) -> Iterator[Group]:
        """Run a block inside *group*; an exception rolls back the changes of this block only."""
        point = out_of_block(self._managers.savepoint)()
        count = len(group.undone)
        try:
            yield group
        except BaseException:
            if self._local.group is group:
                out_of_block(point.rollback)()
                while len(group.undone) > count:
                    group.undone.pop()()
            raise

    def leave(self) -> None:
        """In a forked child: leave the transaction of the thread to the parent."""
        group = self._local.group
        if group is not None:
            self._end(group)
