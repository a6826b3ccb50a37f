"""Every error of the package, in three families by who can do something.

:class:`UsageError`: the program called something wrongly. :class:`Transient`
errors: somebody else was faster, run the transaction again (the
``transaction`` package's retry loops do). :class:`LogError`: the file is not
as it should be, stop and look.

Errors carry their values as attributes, build the text in ``__str__`` and
survive pickling. This module is the ground of the package: it imports nothing
of it but :mod:`dobbin_like.ids`.
"""

from __future__ import annotations

from transaction.interfaces import TransientError

from dobbin_like.ids import Oid, Tid

__all__ = [
    "BrokenObjectError",
    "ClassNotSupported",
    "ClosedError",
    "CommittingError",
    "ConflictError",
    "CopyError",
    "Error",
    "FormatVersionError",
    "IntegrityError",
    "InvalidObjectReference",
    "LockTimeout",
    "LogError",
    "LogMovedError",
    "LogPackedError",
    "MainModuleWarning",
    "MigrationError",
    "NewerStateError",
    "NotALogError",
    "NotASafeError",
    "NotHeldError",
    "NotPersistentError",
    "NotStorableError",
    "ObjectNotFound",
    "PackError",
    "PackRunningError",
    "PastDroppedError",
    "ReadConflictError",
    "ReadOnlyError",
    "ReadOnlyStorageError",
    "RenameError",
    "RootError",
    "SafeDirectoryError",
    "SelfWaitError",
    "SharedValueError",
    "StorageInUseError",
    "StreamMovedError",
    "TransactionNotFound",
    "UndoConflictError",
    "UndoError",
    "UnloadedClassError",
    "UsageError",
    "WriteConflictError",
]


class Error(Exception):
    """Base of all errors of this package.

    A subclass lists the names of its values in ``fields``; they are the
    positional arguments, in that order, and become attributes.
    """

    fields: tuple[str, ...] = ()

    def __init__(self, *values: object) -> None:
        if len(values) != len(self.fields):
            text = f"{type(self).__name__} takes {self.fields}, got {values!r}"
            raise TypeError(text)
        super().__init__(*values)
        for name, value in zip(self.fields, values, strict=True):
            setattr(self, name, value)


# -- you called it wrong: fix the program ---------------------------------


class UsageError(Error):
    """The program did something that can never work."""


class ReadOnlyError(UsageError, RuntimeError):
    """An attribute was set or deleted on an object that is not checked out.

    The object is unchanged; ``checkout(obj)`` makes it writable. The text is
    the same for every object: programs and documents compare it.
    """

    fields = ("class_name", "oid", "name")
    class_name: str
    oid: Oid | None
    name: str

    def __str__(self) -> str:
        return "Can't set attribute in read-only mode."


class SharedValueError(UsageError, RuntimeError):
    """A list, dict, set or bytearray in shared state was to be changed.

    The value is unchanged. ``owner`` describes the object it hangs on.
    """

    fields = ("kind", "owner")
    kind: str
    owner: str

    def __str__(self) -> str:
        return (
            f"this {self.kind} belongs to {self.owner}, which is in shared state; "
            f"call checkout() on that object and change the value you then read from it"
        )


class ClosedError(UsageError, ValueError):
    """A database, storage or stream was used after ``close()``."""

    fields = ("what",)
    what: str

    def __str__(self) -> str:
        return f"{self.what} is closed; open it again"


class RootError(UsageError, ValueError):
    """A second root was to be elected, or an unsuitable one. Nothing changed."""

    fields = ("reason",)
    reason: str

    def __str__(self) -> str:
        return f"can't elect the root: {self.reason}"


class NotPersistentError(UsageError, TypeError):
    """Something that is no instance of ``Persistent`` was given as one."""

    fields = ("class_name",)
    class_name: str

    def __str__(self) -> str:
        return f"{self.class_name} is not a subclass of Persistent; derive the class from it"


class InvalidObjectReference(UsageError, ValueError):
    """An object of one database was used in another. Nothing was written."""

    fields = ("class_name", "oid", "place")
    class_name: str
    oid: Oid | None
    place: str

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.class_name} oid {self.oid} belongs to another database; "
            f"store a copy of it, or its oid"
        )


class NotStorableError(UsageError, TypeError):
    """A value can't be stored, or could not be loaded back. Nothing was written.

    ``path`` leads from the object to the culprit, as one would write it in
    Python: ``.handlers[3].callback``.
    """

    fields = ("class_name", "oid", "path", "reason")
    class_name: str
    oid: Oid | None
    path: str
    reason: str

    def __str__(self) -> str:
        oid = "a new object" if self.oid is None else f"oid {self.oid}"
        return f"{self.class_name} ({oid}), at {self.path}: {self.reason}"


class ClassNotSupported(UsageError, TypeError):
    """A class can't be persistent. Raised where the class is made."""

    fields = ("class_name", "reason")
    class_name: str
    reason: str

    def __str__(self) -> str:
        return f"class {self.class_name} can't be persistent: {self.reason}"


class ObjectNotFound(UsageError, LookupError):
    """An oid was asked for that the database does not have."""

    fields = ("oid",)
    oid: Oid

    def __str__(self) -> str:
        return f"there is no object with oid {self.oid}"


class TransactionNotFound(UsageError, LookupError):
    """A tid, or a moment, was asked for that the log does not have, not yet or never."""

    fields = ("path", "tid", "reason")
    path: str
    tid: Tid
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: no transaction {self.tid}: {self.reason}"


class PastDroppedError(UsageError, LookupError):
    """The past was asked for as of a tid before which packing has dropped what was old.

    From ``complete_since`` on, everything is there.
    """

    fields = ("path", "tid", "complete_since")
    path: str
    tid: Tid
    complete_since: Tid

    def __str__(self) -> str:
        return (
            f"{self.path}: the log was packed, and what there was as of tid {self.tid} is "
            f"dropped; it is complete from tid {self.complete_since} on"
        )


class UndoError(UsageError, ValueError):
    """A transaction is of a kind that can't be undone. Nothing changed."""

    fields = ("path", "tid", "reason")
    path: str
    tid: Tid
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: transaction {self.tid} can't be undone: {self.reason}"


class SelfWaitError(UsageError, RuntimeError):
    """A transaction would wait for a commit lock that this thread holds.

    Two instances over one file were changed in one transaction, or a second
    transaction was committed inside the commit of the first.
    """

    fields = ("path",)
    path: str

    def __str__(self) -> str:
        return (
            f"{self.path}: this thread is already committing to this file; use one "
            f"database instance for a file in a transaction"
        )


class CommittingError(UsageError, RuntimeError):
    """An object was checked out, or elected, while its transaction was committing.

    By a method that the commit calls: ``__getstate__`` or ``__reduce__`` of a
    value, ``_p_resolve_conflict``. The change could not be part of it.
    """

    fields = ("path",)
    path: str

    def __str__(self) -> str:
        return (
            f"{self.path}: the transaction is committing, nothing more can be checked out; "
            f"do it before commit(), or in a hook added by addBeforeCommitHook()"
        )


class StorageInUseError(UsageError, ValueError):
    """A storage was given to a second database. Open the path again instead."""

    fields = ("path",)
    path: str

    def __str__(self) -> str:
        return f"{self.path}: this storage belongs to a database; give the other one its own"


class CopyError(UsageError, ValueError):
    """A backup or a snapshot can't be written there. What is there was not changed."""

    fields = ("path", "reason")
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class PackRunningError(UsageError, RuntimeError):
    """A log is to be packed that is being packed already. Nothing was changed."""

    fields = ("path",)
    path: str

    def __str__(self) -> str:
        return f"{self.path}: the log is being packed already, by this process or another"


class PackError(UsageError, ValueError):
    """A log can't be packed as it was asked for. Nothing was changed."""

    fields = ("path", "reason")
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: can't be packed: {self.reason}"


class ReadOnlyStorageError(UsageError, PermissionError):
    """A commit to a storage that is read-only. Nothing was written."""

    fields = ("path", "reason")
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class NotASafeError(UsageError, ValueError):
    """A database was opened as a safe that has something else in it. Nothing was changed."""

    fields = ("path", "class_name")
    path: str
    class_name: str

    def __str__(self) -> str:
        return f"{self.path}: no safe, the root is a {self.class_name}; open it as a Database"


class SafeDirectoryError(UsageError, RuntimeError):
    """The safe of a module was asked for, and where it is can't be told."""

    fields = ("reason",)
    reason: str

    def __str__(self) -> str:
        return f"the directory for the safes of modules: {self.reason}"


class NotHeldError(UsageError, RuntimeError):
    """A method that writes was called at the wrong moment. Nothing was written."""

    fields = ("path", "step", "missing")
    path: str
    step: str
    missing: str

    def __str__(self) -> str:
        return f"{self.path}: {self.step} needs {self.missing}"


class UnloadedClassError(UsageError, TypeError):
    """A value was touched whose class may not be loaded, or can't be found.

    Its bytes are safe: it can be kept, moved and stored back unharmed.
    """

    fields: tuple[str, ...] = ("module", "qualname", "reason")
    module: str
    qualname: str
    reason: str

    def __str__(self) -> str:
        return (
            f"the class {self.module}.{self.qualname} is not loaded: {self.reason}; import "
            f"{self.module} before, or open with allow=['{self.module}.*']"
        )


class BrokenObjectError(UnloadedClassError, AttributeError):
    """A broken object was asked for what its stored state does not have.

    Its class may have it, but is not there; the state can be read.
    """

    fields = ("module", "qualname", "reason", "name")

    def __str__(self) -> str:
        return f"the stored state has no {self.name!r}, and {super().__str__()}"


class RenameError(UsageError, ValueError):
    """A class can't be renamed as it was asked for. Nothing was written."""

    fields = ("old", "new", "reason")
    old: str
    new: str
    reason: str

    def __str__(self) -> str:
        return f"can't rename {self.old} to {self.new}: {self.reason}"


class NewerStateError(UsageError, RuntimeError):
    """A state was stored by a newer version of its class than this program has.

    ``found`` and ``expected`` are the values of ``_p_version``. The object stays unread.
    """

    fields = ("class_name", "oid", "found", "expected")
    class_name: str
    oid: Oid
    found: int
    expected: int

    def __str__(self) -> str:
        return (
            f"{self.class_name} oid {self.oid} was stored as version {self.found}, the class "
            f"of this program is version {self.expected}; run a newer program"
        )


class MigrationError(UsageError, RuntimeError):
    """An old state could not be brought to the version of its class. The object stays unread.

    ``found`` is the version it was stored as, ``expected`` that of the class; the exception
    of ``_p_migrate``, if it raised one, is ``__cause__``.
    """

    fields = ("class_name", "oid", "found", "expected", "reason")
    class_name: str
    oid: Oid
    found: int
    expected: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.class_name} oid {self.oid}, from version {self.found} to {self.expected}: "
            f"{self.reason}; mend {self.class_name}._p_migrate"
        )


class MainModuleWarning(UserWarning):
    """An object of a class of ``__main__`` was stored: other programs can't load it."""


# -- somebody else was faster: run the transaction again -------------------


class ConflictError(Error, TransientError):
    """This transaction and a committed one changed, or relied on, one object.

    The transaction has failed; the objects show the latest committed state.
    ``serial`` is the tid that changed the object, ``base_serial`` the one that
    this transaction had read; ``failed`` says how resolution ended, if the
    class has one.
    """

    fields: tuple[str, ...] = (
        "class_name",
        "oid",
        "serial",
        "base_serial",
        "by_whom",
        "failed",
    )
    class_name: str
    oid: Oid
    serial: Tid
    base_serial: Tid
    by_whom: str
    failed: str

    def __init__(
        self,
        class_name: str = "object",
        oid: Oid | None = None,
        serial: Tid | None = None,
        base_serial: Tid | None = None,
        by_whom: str = "another transaction",
        failed: str = "",
    ) -> None:
        super().__init__(class_name, oid, serial, base_serial, by_whom, failed)

    def __str__(self) -> str:
        text = (
            f"{self.class_name} oid {self.oid} was changed by {self.by_whom} "
            f"(tid {self.serial}) after this transaction read it (tid {self.base_serial})"
        )
        if self.failed:
            text += f", and {self.failed}"
        return text + "; run the transaction again"


class WriteConflictError(ConflictError):
    """The other transaction was one of another thread of this database instance."""


class ReadConflictError(ConflictError):
    """The other transaction was found while catching up with the log."""


class UndoConflictError(ConflictError):
    """What a transaction changed was changed again later, so it can't be undone. Nothing changed.

    ``base_serial`` is the tid that was to be undone, ``attribute`` what was changed again,
    ``serial`` the tid that last changed the object. Unlike its relatives it does not go
    away when the transaction is run again: undo the later ones first, newest first.
    """

    fields = (*ConflictError.fields, "attribute")
    attribute: str

    def __init__(
        self,
        class_name: str = "object",
        oid: Oid | None = None,
        serial: Tid | None = None,
        base_serial: Tid | None = None,
        by_whom: str = "a later transaction",
        failed: str = "",
        attribute: str = "",
    ) -> None:
        Error.__init__(self, class_name, oid, serial, base_serial, by_whom, failed, attribute)

    def __str__(self) -> str:
        failed = f", and {self.failed}" if self.failed else ""
        return (
            f"transaction {self.base_serial} can't be undone: .{self.attribute} of "
            f"{self.class_name} oid {self.oid}, which it changed, was changed again by "
            f"{self.by_whom} (the last was tid {self.serial}){failed}; undo the later ones first"
        )


class LockTimeout(Error, TransientError):
    """The commit lock was not free in time. Nothing was written."""

    fields = ("path", "timeout_seconds")
    path: str
    timeout_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.path}: the commit lock is still held by another after "
            f"{self.timeout_seconds} seconds; run the transaction again"
        )


# -- the file is not as it should be: stop and look -------------------------


class LogError(Error):
    """The log is not what it should be. It was not changed."""


class NotALogError(LogError, ValueError):
    """The path leads to something that is not a log of this package."""

    fields = ("path", "found")
    path: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: not a dobbin_like log: {self.found}; is this the right path?"


class FormatVersionError(LogError, ValueError):
    """The log was written by a newer release with another format."""

    fields = ("path", "found", "expected")
    path: str
    found: int
    expected: int

    def __str__(self) -> str:
        return (
            f"{self.path}: format version {self.found}, this release reads up to "
            f"{self.expected}; upgrade dobbin_like"
        )


class LogMovedError(LogError):
    """The path leads to another file than the one that is open, or to none.

    Nothing was written: a commit would go to a file that nobody opens any more.
    """

    fields = ("path", "found")
    path: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.found}, expected the file that was opened; open the "
            f"database again"
        )


class LogPackedError(LogMovedError):
    """The log was packed and goes on in another file, which is at the path.

    A database follows by itself; whoever uses a storage alone reads its news first.
    """

    def __str__(self) -> str:
        return f"{self.path}: {self.found}; read_news() goes on in the new file"


class StreamMovedError(LogError):
    """A stream is not where it was: the log was packed since. Read its object anew."""

    fields = ("path", "key")
    path: str
    key: int

    def __str__(self) -> str:
        return f"{self.path}: the stream {self.key} has moved, the log was packed; read its object"


class IntegrityError(LogError):
    """Committed bytes are damaged. What does not need them can still be read.

    ``offset`` is in bytes from the start of the file.
    """

    fields = ("path", "offset", "found", "expected")
    path: str
    offset: int
    found: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.offset}: {self.found}, expected {self.expected}; run "
            f"`python -m dobbin_like check {self.path}`"
        )
