"""Each system call of a log fails in turn, once or from there on: nothing is lost, all go on.

What was acknowledged is there, as another process finds it; what was refused is not, unless it is
in doubt; and when the disk is well again, the same instance goes on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import itertools
import shutil
import threading
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction
from transaction.interfaces import TransientError

from dobbin_like import Database, PersistentDict, checkout
from dobbin_like.check import check_log
from dobbin_like.exc import Error, InDoubtError
from dobbin_like.log.file import range_lock
from tests.helpers.log_files import open_files
from tests.helpers.packing import LONG, stored
from tests.helpers.processes import exit_code, forked
from tests.helpers.system_calls import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

AFTERWARDS = 7
"""What is committed when nothing fails any more."""


def opened(path: Path, manager: Any = None, **options: Any) -> Database:
    manager = manager or transaction.TransactionManager()
    return Database(path, transaction_manager=manager, **options)


def change(database: Database, value: int) -> None:
    """Let the value be in the database, in its root and in a new object."""
    if database.root is None:
        database.set_root(PersistentDict(n=value, new=PersistentDict(n=value)))
    else:
        checkout(database.root)
        database.root.update(n=value, new=PersistentDict(n=value))


def value_in(database: Database) -> int | None:
    """Return the value that change() has set last, after all that is there was read."""
    root = database.root
    if root is None:
        return None
    assert root["new"]["n"] == root["n"]
    assert "stream" not in root or b"".join(root["stream"]) == LONG
    return root["n"]


def commit(databases: list[Database], value: int) -> None:
    manager = databases[0].transaction_manager
    manager.begin()
    for database in databases:
        change(database, value)
    manager.commit()


# -- another process ----------------------------------------------------------------------


class Other:
    """Another process: ``other.look(path)`` is what look() returns there."""

    def __init__(self) -> None:
        here, there = Pipe()
        self._pipe = here
        self._child = forked(lambda: self._serve(here, there))
        there.close()

    def __getattr__(self, name: str) -> Any:
        def call(path: Path) -> Any:
            self._pipe.send((name, path))
            result = self._pipe.recv()
            if isinstance(result, BaseException):
                raise result
            return result

        return call

    def end(self) -> None:
        self._pipe.close()
        assert exit_code(self._child) == 0

    @staticmethod
    def _serve(here: Connection, there: Connection) -> None:
        here.close()
        there_is = InOther()
        with contextlib.suppress(EOFError):
            while True:
                name, path = there.recv()
                try:
                    result = getattr(there_is, name)(path)
                except BaseException as error:
                    result = AssertionError(f"in the other process: {error!r}")
                there.send(result)


class InOther:
    """What the other process does."""

    def __init__(self) -> None:
        self._open: dict[Path, Database] = {}

    def look(self, path: Path) -> tuple[int | None, int | None]:
        """Return the value that who only reads finds, and the one that who may write finds."""
        check_log(path).raise_if_bad()
        found = []
        for options in ({"read_only": True}, {"lock_timeout": 5}):
            with opened(path, **options) as database:
                found.append(value_in(database))
        return found[0], found[1]

    def open(self, path: Path) -> None:
        self._open[path] = opened(path)

    def pack(self, path: Path) -> None:
        self._open[path].pack()

    def commit(self, path: Path) -> None:
        """Commit something that is in nobody's way."""
        database = self._open[path]
        database.transaction_manager.begin()
        checkout(database.root["aside"])
        database.root["aside"]["n"] = 1
        database.transaction_manager.commit()

    def follow(self, path: Path) -> int | None:
        """Return what is there by now, as the database that is open here shows it."""
        self._open[path].transaction_manager.begin()
        return value_in(self._open[path])

    def close(self, path: Path) -> None:
        if path in self._open:
            self._open.pop(path).close()


@pytest.fixture
def other() -> Iterator[Other]:
    other = Other()
    yield other
    other.end()


# -- what is done while a call fails --------------------------------------------------------


class Operation:
    """What is done; its class tells what is there before, and afterwards if it succeeds.

    ``beside``: another process has the log open, and commits meanwhile.
    """

    before: int | None = 0
    after: int | None = 1
    options: dict[str, Any] = {}  # noqa: RUF012
    beside = False

    def __init__(self, path: Path, template: Path, other: Other) -> None:
        self.path = path
        self.beyond = path.with_name("beyond.log")  # A second database, or a copy.
        self.other = other
        self.databases: list[Database] = []
        if self.before is not None:
            shutil.copy(template, path)
        self.prepare()

    def open(self) -> Database:
        self.databases.append(opened(self.path, **self.options))
        return self.databases[0]

    def prepare(self) -> None:
        """Do what comes before."""
        database = self.open()
        if self.beside:
            self.other.open(self.path)
        database.transaction_manager.begin()
        change(database, 1)
        if self.beside:
            self.other.commit(self.path)

    def act(self) -> None:
        """Do what is to fail."""
        self.databases[0].transaction_manager.commit()

    def allowed(self, error: BaseException | None) -> set[int | None]:
        """Return what may be there afterwards."""
        if isinstance(error, InDoubtError):
            return {self.before, self.after}
        return {self.after if error is None else self.before}

    def check(self, error: BaseException | None) -> None:
        """Look at what else there is, when nothing fails any more."""

    def again(self) -> None:
        """Do it once more, when the value afterwards was committed."""


class CommitLoose(Operation):
    options = {"sync": False}  # noqa: RUF012


class CommitBeside(Operation):
    beside = True


class CommitLooseBeside(CommitLoose):
    beside = True


class CommitStream(Operation):
    def prepare(self) -> None:
        super().prepare()
        self.databases[0].root["stream"] = stored(LONG)


class FirstCommit(Operation):
    before = None


class FirstCommitLoose(FirstCommit):
    options = {"sync": False}  # noqa: RUF012


class CommitToTwo(Operation):
    """Both have it, or none; or it is in doubt."""

    def prepare(self) -> None:
        shutil.copy(self.path, self.beyond)
        manager = transaction.TransactionManager()
        self.databases += [
            opened(path, manager, **self.options) for path in (self.path, self.beyond)
        ]
        manager.begin()
        for database in self.databases:
            change(database, 1)

    def check(self, error: BaseException | None) -> None:
        found = self.other.look(self.beyond)[1]
        assert found in self.allowed(error)
        if not isinstance(error, InDoubtError):
            assert found == self.other.look(self.path)[1]


class CommitLooseToTwo(CommitToTwo):
    options = {"sync": False}  # noqa: RUF012


class CommitBehindPack(Operation):
    """The thread follows to the file of another process, and commits there."""

    def prepare(self) -> None:
        self.open()
        self.other.open(self.path)
        self.other.pack(self.path)

    def act(self) -> None:
        commit(self.databases, 1)


class Open(Operation):
    after = 0

    def prepare(self) -> None:
        if self.beside:
            self.other.open(self.path)

    def act(self) -> None:
        self.open()

    def check(self, error: BaseException | None) -> None:
        if error is not None:
            gc.collect()
            assert str(self.path) not in open_files()
            self.open()


class OpenBeside(Open):
    beside = True


class OpenTorn(Open):
    def prepare(self) -> None:
        with self.path.open("ab") as file:
            file.write(b"torn" * 20)


class OpenNothing(Open):
    before = after = None


class OpenToRead(Open):
    options = {"read_only": True}  # noqa: RUF012


class Done(Operation):
    """What comes after a commit, and changes nothing of it."""

    before = 0

    def prepare(self) -> None:
        super().prepare()
        self.databases[0].transaction_manager.commit()

    def allowed(self, error: BaseException | None) -> set[int | None]:
        return {1}


class Close(Done):
    def act(self) -> None:
        self.databases[0].close()

    def check(self, error: BaseException | None) -> None:
        assert self.databases[0].storage.closed
        self.databases.clear()


class CloseLoose(Close):
    options = {"sync": False}  # noqa: RUF012


class CloseBeside(Close):
    beside = True


class Pack(Done):
    def act(self) -> None:
        self.databases[0].pack()

    def check(self, error: BaseException | None) -> None:
        if self.beside:
            assert self.other.follow(self.path) == 1

    def again(self) -> None:
        assert self.databases[0].pack().packed
        if self.beside:
            assert self.other.follow(self.path) == AFTERWARDS


class PackBeside(Pack):
    beside = True


class Backup(Done):
    """A copy is whole, or it is not there."""

    def act(self) -> None:
        self.databases[0].backup(self.beyond)

    def check(self, error: BaseException | None) -> None:
        if error is None or self.beyond.exists():
            assert self.other.look(self.beyond)[1] == 1

    def again(self) -> None:
        self.act()
        assert self.other.look(self.beyond)[1] == AFTERWARDS


class BackupAgain(Backup):
    """What is appended to is as it was, or as it is to be."""

    def prepare(self) -> None:
        super().prepare()
        super().act()
        commit(self.databases, 2)

    def allowed(self, error: BaseException | None) -> set[int | None]:
        return {2}

    def check(self, error: BaseException | None) -> None:
        assert self.other.look(self.beyond)[1] in ({2} if error is None else {1, 2})


class Snapshot(Backup):
    def act(self) -> None:
        self.databases[0].snapshot(self.beyond)

    def again(self) -> None:
        self.beyond.unlink(missing_ok=True)
        super().again()


OPERATIONS = [
    Operation,
    CommitLoose,
    CommitBeside,
    CommitLooseBeside,
    CommitStream,
    FirstCommit,
    FirstCommitLoose,
    CommitToTwo,
    CommitLooseToTwo,
    CommitBehindPack,
    Open,
    OpenBeside,
    OpenTorn,
    OpenNothing,
    OpenToRead,
    Close,
    CloseLoose,
    CloseBeside,
    Pack,
    PackBeside,
    Backup,
    BackupAgain,
    Snapshot,
]


# -- what holds -------------------------------------------------------------------------------


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.log"
    with opened(path) as database:
        database.set_root(PersistentDict(n=0, new=PersistentDict(n=0), aside=PersistentDict(n=0)))
        database.transaction_manager.commit()
        for _ in range(2):  # Something that a pack drops.
            checkout(database.root["aside"])
            database.root["aside"]["long"] = PersistentDict(x=LONG)
            database.transaction_manager.commit()
    return path


def failed_with(operation: Operation) -> BaseException | None:
    """Do what is to fail; return the error. It is one that tells of the disk, or the log."""
    try:
        operation.act()
    except (OSError, Error) as error:
        forget_frames(error)
        return error
    return None


def forget_frames(error: BaseException | None) -> None:
    """Let what was raised keep no files."""
    while error is not None:
        error.__traceback__ = None
        forget_frames(error.__cause__)
        error = error.__context__


def go_on(operation: Operation) -> None:
    """Commit once more to what is open, as a program does that tries again."""
    databases = operation.databases
    databases[0].transaction_manager.abort()
    for attempt in itertools.count():
        try:
            commit(databases, AFTERWARDS)
            break
        except (TransientError, InDoubtError):  # What was in doubt is a conflict now.
            databases[0].transaction_manager.abort()
            assert attempt < 2
    assert operation.other.look(operation.path) == (AFTERWARDS, AFTERWARDS)
    operation.again()


def close_all(operation: Operation) -> None:
    """Nothing is left: no descriptor, no lock."""
    for database in operation.databases:
        database.transaction_manager.abort()
        database.close()
    operation.other.close(operation.path)
    for thread in threading.enumerate():
        if thread.name.startswith("close "):  # It closes the file that was packed.
            thread.join()
    gc.collect()
    assert not [name for name in open_files() if name.startswith(str(operation.path.parent))]
    if operation.path.exists():
        with operation.path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for which in (range_lock.SYNC, range_lock.WRITER, range_lock.OPENING):
                assert range_lock.lock(file.fileno(), file.name, which, wait=False)


def names_its_file(error: BaseException | None, faults: Faults) -> bool:
    if not isinstance(error, OSError) or isinstance(error, Error):
        return True
    # One of closing it may come on top, and knows no name.
    return error.filename is not None or "close" in faults.failed


def one_fails(operation: Operation, faults: Faults, number: int, kind: int, good: bool) -> bool:
    """Let the call of that number fail; tell whether the operation has come so far."""
    faults.begin(number, kind, for_good=good)
    try:
        error = failed_with(operation)
    finally:
        faults.end()
    assert names_its_file(error, faults)

    if operation.path.exists():
        seen, found = operation.other.look(operation.path)
        assert found in operation.allowed(error)
        assert seen == found or isinstance(error, InDoubtError)
    else:
        assert None in operation.allowed(error)
        found = None
    operation.check(error)
    if operation.databases:
        first = operation.databases[0]
        first.transaction_manager.abort()
        first.transaction_manager.begin()
        assert value_in(first) == found
        if not operation.options.get("read_only"):
            go_on(operation)
    close_all(operation)
    return faults.came


def each_fails(
    make: type[Operation], template: Path, other: Other, kind: int, *, good: bool, step: int = 1
) -> int:
    """Let each *step*-th call fail, each in a directory of its own; return how many there are."""
    with Faults() as faults:
        for number in itertools.count(1, step):
            place = template.with_name(f"{number}")
            place.mkdir()
            operation = make(place / "data.log", template, other)
            try:
                came = one_fails(operation, faults, number, kind, good)
            except AssertionError as error:
                error.add_note(f"{make.__name__}: call {number} failed, of {faults.failed[:5]}")
                raise
            shutil.rmtree(place)
            if not came:
                return number - 1
    raise AssertionError


@pytest.mark.parametrize("make", [Operation, FirstCommit, Open, CloseLoose])
def test_after_a_call_that_fails_once_all_go_on(
    make: type[Operation], template: Path, other: Other
) -> None:
    assert each_fails(make, template, other, errno.EIO, good=False, step=3) > 10


@pytest.mark.slow
@pytest.mark.parametrize("good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("kind", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("make", OPERATIONS)
def test_after_each_call_that_fails_nothing_is_lost_and_all_go_on(
    make: type[Operation], template: Path, other: Other, kind: int, *, good: bool
) -> None:
    assert each_fails(make, template, other, kind, good=good) > 5


def test_of_a_log_that_is_closed_no_file_is_open_in_which_something_was_in_doubt(
    path: Path, other: Other
) -> None:
    """One that was packed since was kept as long as the log was not collected."""
    with opened(path) as database:
        commit([database], 0)
        with Faults() as faults:
            database.transaction_manager.begin()
            change(database, 1)
            for number in itertools.count(1):  # Until it is the sync that fails.
                faults.begin(number, errno.EIO, for_good=False)
                with contextlib.suppress(OSError, Error):
                    database.transaction_manager.commit()
                faults.end()
                database.transaction_manager.abort()
                if faults.failed == ["fdatasync"]:
                    break
                commit([database], 0)
                change(database, 1)
        assert database.storage._writing.writer.promises
        other.open(path)
        other.pack(path)
        other.close(path)
        commit([database], 2)
    assert not [name for name in open_files() if name.startswith(str(path))]
