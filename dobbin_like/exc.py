"""Every error of the package, in three families that differ in what you can do, and two alone.

:class:`UsageError`: the program made a wrong call; fix the program. Transient errors
(:class:`ConflictError` and :class:`LockTimeout`): another transaction was faster; run the
transaction again, as the retry loops of the ``transaction`` package do. :class:`LogError`:
the file is not as it should be; stop and look at it. Three are of no family.
:class:`InDoubtError`: the transaction may be committed or not; ask before you run it again.
:class:`ServerUnavailableError`: the server has to come back first. :class:`UniqueError`: the key
belongs to another object; that is for the program to decide.

An error is declared by its docstring, its values and its text; :class:`Error` makes the
constructor, the attributes, the text, the repr and pickling from them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final, NamedTuple, Self, dataclass_transform

from transaction.interfaces import TransientError

from dobbin_like.ids import Oid, Tid

_UNKNOWN: Final[Any] = None  # In a conflict that a program raises: the store knows all values.


@dataclass_transform(eq_default=False)
class Error(Exception):
    """Base of all errors of this package.

    A subclass annotates its values. In this order they are the arguments of the constructor and
    ``args``, by their names they are attributes, and ``text`` may have them in braces. A value
    that is assigned in the class is the default.
    """

    fields: ClassVar[tuple[str, ...]] = ()
    text: ClassVar[str] = ""
    """Where, what was found, what was expected; what to do. A format string."""

    _defaults: ClassVar[dict[str, object]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = cls.__annotations__
        cls.fields = tuple(dict.fromkeys((*cls.fields, *own)))
        cls._defaults = cls._defaults | {n: v for n, v in vars(cls).items() if n in own}

    def __init__(self, *values: object, **named: object) -> None:
        if named or len(values) != len(self.fields):
            values = self._all_values(values, named)
        super().__init__(*values)
        for name, value in zip(self.fields, values, strict=True):
            setattr(self, name, value)

    def _all_values(self, values: tuple[object, ...], named: dict[str, object]) -> tuple[Any, ...]:
        given = dict(zip(self.fields, values, strict=False))
        every = self._defaults | named | given
        is_clear = len(values) <= len(self.fields) and given.keys().isdisjoint(named)
        if not is_clear or every.keys() != set(self.fields):
            expected = ", ".join(self.fields)
            text = f"{type(self).__name__} takes ({expected}), got {values!r} and {named!r}"
            raise TypeError(text)
        return tuple(every[name] for name in self.fields)

    def __str__(self) -> str:
        return self.text.format_map({name: getattr(self, name) for name in self.fields})

    def __repr__(self) -> str:
        pairs = zip(self.fields, self.args, strict=False)
        values = ", ".join(f"{name}={value!r}" for name, value in pairs)
        return f"{type(self).__name__}({values})"


# -- the program made a wrong call: fix the program ------------------------


class UsageError(Error):
    """The program did something that can never work."""


class ReadOnlyError(UsageError, RuntimeError):
    """An attribute was set or deleted on an object that is not checked out; it is unchanged.

    The first sentence is the same for every object, because programs and documents compare it.
    """

    class_name: str
    oid: Oid | None
    name: str
    text = "Can't set attribute in read-only mode."

    def __str__(self) -> str:
        who = (
            "A new " + self.class_name if self.oid is None else f"{self.class_name} oid {self.oid}"
        )
        return (
            f"{self.text} {who} is not checked out; call checkout(obj), then change .{self.name}."
        )


class NoSuchAttributeError(UsageError, AttributeError):
    """An attribute was used that other object databases have, or a reserved name. Nothing changed.

    ``instead`` says what there is in its place.
    """

    class_name: str
    name: str
    instead: str
    text = "{class_name} has no {name}: {instead}"


class FixedClassError(UsageError, TypeError):
    """An object was to be of another class; it is unchanged."""

    class_name: str
    oid: Oid | None
    new_class: str

    def __str__(self) -> str:
        who = (
            "a new " + self.class_name if self.oid is None else f"{self.class_name} oid {self.oid}"
        )
        return (
            f"{who} can't become an instance of {self.new_class}: "
            "the class of an object is stored with it; make a new object, or rename the class of "
            "all by db.rename_class()"
        )


class SharedValueError(UsageError, RuntimeError):
    """A list, dict, set or bytearray in shared state was to be changed; it is unchanged.

    So it is with a new collection that is not checked out; it has no ``owner``.
    """

    kind: str
    owner: str
    text = (
        "this {kind} belongs to {owner}, which is in shared state; call checkout() on that "
        "object, then read the {kind} from it again and change that"
    )

    def __str__(self) -> str:
        if self.owner:
            return super().__str__()
        return f"this new {self.kind} is not checked out; call checkout() on it, then change it"


class SharedStateChangedError(UsageError, RuntimeError):
    """The shared state of an object was changed without a checkout, by what no guard can stop.

    Found by a commit to a database with ``guard="check"``, which is refused.
    """

    class_name: str
    oid: Oid
    name: str
    text = (
        "{class_name} oid {oid}: .{name} was changed in shared state since it was stored or read; "
        "all threads of this process see the change, and nobody stores it; call checkout() on the "
        "object, then read the value from it again and change that"
    )


class ClosedError(UsageError, ValueError):
    """A database, storage or stream was used after ``close()``."""

    what: str
    text = "{what} is closed; open it again"


class ChangesLostError(ClosedError):
    """A transaction was to be committed after a database that it has changed was closed.

    Nothing was committed, in no database. ``abort()`` ends the transaction.
    """

    text = (
        "{what} was closed with changes of this transaction, which are lost; call abort(), and "
        "next time commit() or abort() before close()"
    )


class RootError(UsageError, ValueError):
    """The database has a root already, or the object can't be its root. Nothing changed."""

    reason: str
    text = "can't set the root: {reason}"


class NotPersistentError(UsageError, TypeError):
    """An object that is not an instance of ``Persistent`` was given where one is expected."""

    class_name: str
    text = "{class_name} is not a subclass of Persistent; derive the class from it"

    @classmethod
    def of(cls, obj: object) -> Self:
        """Return the error for *obj*, which may be a class."""
        name = f"the class {obj.__name__}" if isinstance(obj, type) else type(obj).__name__
        return cls(name)

    def __str__(self) -> str:
        if self.class_name.startswith("the class "):
            return f"{self.class_name} was given, expected an instance of it"
        return super().__str__()


class InvalidObjectReference(UsageError, ValueError):
    """An object of one database was used in another. Nothing was written."""

    class_name: str
    oid: Oid | None
    place: str
    text = (
        "{place}: {class_name} oid {oid} belongs to another database; store a copy of it, or "
        "its oid"
    )


class NotStorableError(UsageError, TypeError):
    """A value can't be stored, or could not be loaded back. Nothing was written.

    ``path`` leads from the object to the value, written as in Python: ``.handlers[3].callback``.
    """

    class_name: str
    oid: Oid | None
    path: str
    reason: str

    def __str__(self) -> str:
        oid = "a new object" if self.oid is None else f"oid {self.oid}"
        return f"{self.class_name} ({oid}), at {self.path}: {self.reason}"


class ClassNotSupported(UsageError, TypeError):
    """A class can't be persistent. Raised where the class is defined."""

    class_name: str
    reason: str
    text = "class {class_name} can't be persistent: {reason}"


class ObjectNotFound(UsageError, LookupError):
    """The database has no object with this oid."""

    oid: Oid
    text = "there is no object with oid {oid}"


class TransactionNotFound(UsageError, LookupError):
    """The log has no transaction with this tid, or no state of this time."""

    path: str
    tid: Tid
    reason: str
    text = "{path}: no transaction {tid}: {reason}"


class PastDroppedError(UsageError, LookupError):
    """The state as of this tid was dropped when the log was packed."""

    path: str
    tid: Tid
    complete_since: Tid
    text = (
        "{path}: the state as of tid {tid} was dropped when the log was packed; ask for tid "
        "{complete_since} or later"
    )


class UndoError(UsageError, ValueError):
    """A transaction of this kind can't be undone. Nothing changed."""

    path: str
    tid: Tid
    reason: str
    text = "{path}: transaction {tid} can't be undone: {reason}"


class SelfWaitError(UsageError, RuntimeError):
    """A transaction would wait for a commit lock that its own thread holds.

    Two instances over one file were changed in one transaction, or one was committed in another.
    Or a signal handler, or a finalizer, has come in the middle of an operation of its thread and
    wanted to change or begin something, or has ended the transaction of that operation. What
    raises this has stored nothing.
    """

    path: str
    text = (
        "{path}: this thread is already committing to this file; use one database instance per "
        "file in a transaction, and change nothing in a signal handler"
    )


class LatePatchError(UsageError, RuntimeError):
    """``threading`` was patched after this package was imported. Nothing was opened."""

    path: str
    text = (
        "{path}: threads were replaced by others, by gevent for one, after dobbin_like was "
        "imported, which can't tell them apart; patch first (monkey.patch_all()), then import"
    )


class CommittingError(UsageError, RuntimeError):
    """An object was checked out, or set as the root, by a method that the commit calls."""

    path: str
    text = (
        "{path}: the transaction is committing, nothing more can be checked out; check out "
        "before commit(), or in a hook added by addBeforeCommitHook()"
    )


class BlockError(UsageError, RuntimeError):
    """A block of ``db.transaction()`` or ``db.reading()`` was used as it can't be.

    What was changed in it is taken back.
    """

    path: str
    reason: str
    text = "{path}: a transaction block can't go on: {reason}"


class UncommittedChangesError(UsageError, RuntimeError):
    """A thread has changes that are neither committed nor aborted, and was to begin anew.

    They are as they were.
    """

    path: str
    text = (
        "{path}: this thread has changes that are neither committed nor aborted; call commit() "
        "or abort() first, or make them in the block"
    )


class StorageInUseError(UsageError, ValueError):
    """A storage was given to a second database."""

    path: str
    text = "{path}: this storage belongs to a database; open the path again for another one"


class CopyError(UsageError, ValueError):
    """A backup or a snapshot can't be written there. What is there is unchanged."""

    path: str
    reason: str
    text = "{path}: {reason}"


class SourceError(UsageError, ValueError):
    """What is to be imported is not as expected. There is no new database."""

    path: str
    place: str
    found: str
    expected: str
    text = "{path}: {place}: {found}, expected {expected}; nothing was imported"


class PackRunningError(UsageError, RuntimeError):
    """Another pack of the log is running. Nothing was changed."""

    path: str
    text = (
        "{path}: the log is being packed already, by this process or another; wait until that "
        "has ended"
    )


class PackError(UsageError, ValueError):
    """A log can't be packed as requested. Nothing was changed."""

    path: str
    reason: str
    text = "{path}: can't be packed: {reason}"


class ReadOnlyStorageError(UsageError, PermissionError):
    """A program tried to commit to a read-only storage. Nothing was written."""

    path: str
    reason: str
    text = "{path}: {reason}"


class NotASafeError(UsageError, ValueError):
    """A database that is not a safe was opened as one. Nothing was changed."""

    path: str
    class_name: str
    text = "{path}: not a safe, its root is a {class_name}; open it as a Database"


class SafeDirectoryError(UsageError, RuntimeError):
    """The directory for the safes of modules is not set, or can't be set to this path."""

    reason: str
    text = "the directory for the safes of modules: {reason}"


class NotHeldError(UsageError, RuntimeError):
    """A method of a storage that writes was called at the wrong time. Nothing was written."""

    path: str
    step: str
    missing: str
    text = "{path}: {step} needs {missing}"


class LeaseLostError(UsageError, RuntimeError):
    """A worker was to end a claim that is no longer its own. Nothing was changed.

    Another worker may have the job, or has done it: abort what was done for it here.
    """

    path: str
    job_id: int
    attempt: int
    text = (
        "{path}: job {job_id:x} is not claimed by attempt {attempt} any more: its lease ran out, "
        "or the job was acknowledged or given back; claim with a longer lease, or extend() it"
    )


class UnloadedClassError(UsageError, TypeError):
    """A value was used whose class is not loaded. It can be kept, moved and stored unchanged."""

    module: str
    qualname: str
    reason: str
    text = (
        "the class {module}.{qualname} is not loaded: {reason}; import {module} first, or open "
        "with allow=['{module}.*']"
    )


class BrokenObjectError(UnloadedClassError, AttributeError):
    """The stored state of an object whose class is not loaded has no such attribute."""

    name: str
    text = "the stored state has no {name!r}, and " + UnloadedClassError.text


class ValueNotRebuiltError(UnloadedClassError):
    """A value was used that its class does not make any more of what is stored.

    It can be kept, moved and stored unchanged; the rest of its object can be read.
    """

    text = (
        "a {module}.{qualname} can't be rebuilt: {reason}; let its class take what is stored, or "
        "convert it in _p_migrate"
    )


class ReadCycleError(UsageError, RuntimeError):
    """The hash of a key, or member, needs what is just being read, and that is what holds the key.

    ``name`` is the attribute that is needed; empty: the whole object.
    """

    class_name: str
    oid: Oid
    name: str
    text = (
        "{class_name} oid {oid} is being read, and a hash or a comparison of what it holds needs "
        ".{name} of it; let __hash__ and __eq__ need less"
    )


class RenameError(UsageError, ValueError):
    """A class can't be renamed as requested. Nothing was written."""

    old: str
    new: str
    reason: str
    text = "can't rename {old} to {new}: {reason}"


class NewerStateError(UsageError, RuntimeError):
    """A state was stored by a newer version of its class. The object stays unread."""

    class_name: str
    oid: Oid
    found: int
    expected: int
    text = (
        "{class_name} oid {oid} was stored as version {found}, the class of this program is "
        "version {expected}; run a newer program"
    )


class MigrationError(UsageError, RuntimeError):
    """An old state could not be converted to the version of its class. The object stays unread.

    If ``_p_migrate`` raised an exception, it is ``__cause__``.
    """

    class_name: str
    oid: Oid
    found: int
    expected: int
    reason: str
    text = (
        "{class_name} oid {oid}, from version {found} to {expected}: {reason}; correct "
        "{class_name}._p_migrate"
    )


class ChangedBaseError(UsageError, TypeError):
    """A state was stored when its class had another base: a plain one, a dict, a list.

    What the new base needs is not in it; nothing was changed.
    """

    class_name: str
    oid: Oid
    found: str
    expected: str
    text = (
        "{class_name} oid {oid} was stored with {found}, its class expects {expected}; give the "
        "class its former base, or a _p_version and a _p_migrate"
    )


class MainModuleWarning(UserWarning):
    """An object of a class of ``__main__`` was stored: other programs can't load it."""


class LostChangeWarning(UserWarning):
    """A list, dict or set was changed after the end of the transaction that has stored it."""


class OpenDatabaseWarning(UserWarning):
    """A test has opened a database and not closed it."""


class UncommittedChangesWarning(UserWarning):
    """A database was closed with changes that were neither committed nor aborted."""


class IndexDefinitionError(UsageError, ValueError):
    """An index can't be made, or dropped, as it was asked for. Nothing changed."""

    path: str
    name: str
    reason: str
    text = "{path}: index {name}: {reason}"


class IndexFunctionError(UsageError, LookupError):
    """An index is over a function that this program has not given. Nothing was written."""

    path: str
    class_name: str
    function: str
    text = (
        "{path}: an index of {class_name} is over the function {function}, which has to be called "
        "for each object that is committed; call db.index({class_name}, {function}) when the "
        "program starts, or open the database with allow=['{function}']"
    )


class NotIndexableError(UsageError, TypeError):
    """A value of an attribute that has an index has no order. Nothing was written."""

    class_name: str
    oid: Oid
    name: str
    reason: str
    text = "{class_name} oid {oid}, at .{name}, which has an index: {reason}"


class IndexStaleError(UsageError, LookupError):
    """An index does not have the key that an object had. Nothing was written.

    Its class or the function gives other keys than it did when the index was made: so other
    entries are wrong, too.
    """

    class_name: str
    oid: Oid
    index: str
    text = (
        "{class_name} oid {oid} is not in the index {index} with the key that it had: its class, "
        "or the function, has changed; call drop_index(), then index() again"
    )


# -- another transaction was faster: run the transaction again --------------


class Difference(NamedTuple):
    """One attribute, key, item or member, and its values as short texts.

    ``name`` follows the object as in Python: ``.open``, ``['tea']``, ``.prices['tea']``; a member
    of a set is ``{'tea'}``. ``old`` is what both transactions began with, ``theirs`` what the
    other has committed, ``own`` what this one was to commit. ``<absent>``: it is not there.
    """

    name: str
    old: str
    theirs: str
    own: str

    def __str__(self) -> str:
        return f"{self.name}: old {self.old}, theirs {self.theirs}, own {self.own}"


class Sides(NamedTuple):
    """The two sides of a conflict: who committed what, when, and what both have changed.

    ``user`` and ``description`` are those of the other transaction, ``time`` is when it was
    committed, in UTC; ``None``: all three are not known. ``more`` is how many differences were
    found beside those that are told.
    """

    user: str = ""
    description: str = ""
    time: datetime | None = None
    differences: tuple[Difference, ...] = ()
    more: int = 0

    def __str__(self) -> str:
        lines = [str(difference) for difference in self.differences]
        if self.time is not None:
            by = f" by {self.user!r:.80}" if self.user else ""
            note = f": {self.description!r:.120}" if self.description else ""
            lines.insert(0, f"theirs was committed at {self.time:%Y-%m-%d %H:%M:%S} UTC{by}{note}")
        if self.more:
            lines.append(f"and {self.more} more")
        return "".join(f"\n  {line}" for line in lines)


_UNKNOWN_SIDES: Final = Sides()


class ConflictError(Error, TransientError):
    """This transaction and a committed one changed, or relied on, the same object.

    The transaction has failed; the objects show the latest committed state. ``serial`` is the
    tid that changed the object, ``base_serial`` the one that this transaction had read;
    ``failed`` says why the two changes could not be merged, if that was tried. ``sides`` tells
    who has committed the other one, when and with what note, and the values of both.
    """

    class_name: str = "object"
    oid: Oid = _UNKNOWN
    serial: Tid = _UNKNOWN
    base_serial: Tid = _UNKNOWN
    by_whom: str = "another transaction"
    failed: str = ""

    @property
    def sides(self) -> Sides:
        """Both sides, as they were at the conflict.

        Found out once, with the lock given back: when ``commit()`` of the ``transaction`` package
        fails, which formats the error, or when it is asked for, printed, copied or pickled.
        """
        values = self.__dict__
        find = values.get("_find")
        if find is not None:
            values["_sides"] = find()
            values["_find"] = None  # It keeps states in memory.
        sides: Sides = values.get("_sides", _UNKNOWN_SIDES)
        return sides

    def tell(self, find: Callable[[], Sides]) -> Self:
        """Let *find*, which raises nothing, find out about both sides; return the error."""
        self.__dict__["_find"] = find
        return self

    def __reduce__(self) -> Any:
        self.__dict__["_sides"] = self.sides  # What finds them out can't be pickled.
        return super().__reduce__()

    def __str__(self) -> str:
        return f"{self._summary()}{self.sides}"

    def _summary(self) -> str:
        failed = f", and {self.failed}" if self.failed else ""
        return (
            f"{self.class_name} oid {self.oid} was changed by {self.by_whom} (tid {self.serial}) "
            f"after this transaction read it (tid {self.base_serial}){failed}; run the "
            f"transaction again"
        )


class WriteConflictError(ConflictError):
    """Another thread of this database instance has committed the other transaction."""


class ReadConflictError(ConflictError):
    """Another process or database instance has committed the other transaction."""


class UndoConflictError(ConflictError):
    """A change can't be undone because a later transaction changed the same. Nothing changed.

    ``base_serial`` is the tid that was to be undone, ``attribute`` what was changed again,
    ``serial`` the tid that last changed the object. In ``sides``, old is what was to be undone,
    theirs what is there now, own what undoing would make of it. Unlike the other conflicts, this
    one does not go away when the transaction is run again: undo the later ones first, newest
    first.
    """

    by_whom: str = "a later transaction"
    attribute: str = ""

    def _summary(self) -> str:
        failed = f", and {self.failed}" if self.failed else ""
        return (
            f"transaction {self.base_serial} can't be undone: .{self.attribute} of "
            f"{self.class_name} oid {self.oid}, which it changed, was changed again by "
            f"{self.by_whom} (the last was tid {self.serial}){failed}; undo the later ones first"
        )


class LockTimeout(Error, TransientError):
    """The commit lock was not free in time. Nothing was written."""

    path: str
    timeout_seconds: float
    text = (
        "{path}: the commit lock was not free after {timeout_seconds} seconds; run the "
        "transaction again"
    )


class OvertakenError(Error, TransientError):
    """Another process has appended since the storage was read. Nothing was written.

    A storage that keeps nobody out raises it. A database reads what came between, looks for
    conflicts and appends again, by itself.
    """

    path: str
    sequence: int
    text = (
        "{path}: another process has committed after transaction {sequence}; run the transaction "
        "again"
    )


class SnapshotDroppedError(Error, TransientError):
    """A thread goes on after a pause in a snapshot that a pack has dropped. Nothing changed.

    ``begin()`` or ``abort()`` gives it the newest one.
    """

    path: str
    tid: Tid
    text = (
        "{path}: the snapshot of tid {tid}, which this thread had between two transactions, was "
        "dropped by a pack while it was idle; begin a transaction"
    )


# -- the data say no ----------------------------------------------------------


class UniqueError(Error, ValueError):
    """An object was to get the key of another one in a unique index. Nothing was written.

    ``oid`` is that of the object, which a new one does not keep; ``other`` has the key.
    """

    class_name: str
    oid: Oid
    index: str
    key: str
    other: Oid
    text = (
        "{class_name} oid {oid} can't have the key {key} in the unique index {index}: oid {other} "
        "has it; give it another key, or change or discard() the other object first"
    )


class UniqueConflictError(UniqueError, TransientError):
    """A unique key was given to another object since this transaction began.

    Run again, the transaction can find that object.
    """


# -- the server is away: try later -------------------------------------------


class ServerUnavailableError(Error, ConnectionError):
    """The server that has the log can't be reached, or refuses. Nothing was written."""

    path: str
    reason: str
    text = "{path}: the server can't be used: {reason}"


# -- the disk failed after the decision: ask what has become of it ------------


class InDoubtError(Error):
    """A transaction was appended, and it is not known yet whether it stays.

    A sync has failed, or the disk is gone. Whoever opens the log next finds out; then
    ``db.outcome(tid)`` tells. To run the transaction again may do it twice.
    """

    path: str
    tid: Tid
    reason: str
    text = (
        "{path}: transaction {tid} may be committed or not: {reason}; ask outcome({tid}) before "
        "doing it again"
    )


# -- the file is not as it should be: stop and look at it -------------------


class LogError(Error):
    """The log is not as it should be. It was not changed."""


class NotALogError(LogError, ValueError):
    """The file at the path is not a log of this package."""

    path: str
    found: str
    text = "{path}: not a dobbin_like log: {found}; is this the right path?"


class FormatVersionError(LogError, ValueError):
    """A newer release wrote the log, in another format."""

    path: str
    found: int
    expected: int
    text = (
        "{path}: format version {found}, this release reads up to {expected}; upgrade dobbin_like"
    )


class LogMovedError(LogError):
    """The file at the path is not the one that is open, or there is none. Nothing was written."""

    path: str
    found: str
    text = "{path}: {found}, expected the file that was opened; open the database again"


class LogPackedError(LogMovedError):
    """The log was packed and continues in another file, which is at the path.

    A database follows by itself. A program that uses a storage alone calls ``read_news()``.
    """

    text = "{path}: {found}; read_news() continues in the new file"


class StreamMovedError(LogError):
    """The log was packed, and the stream has another key now."""

    path: str
    key: int
    text = "{path}: the stream {key} has moved, the log was packed; read its object again"


class HistoryLostError(LogError):
    """What was read from a log is not in it any more: a standby or a backup has taken its place.

    Nothing was written. What was committed since is gone; what this process knows is not to be
    trusted.
    """

    path: str
    expected: int
    found: str
    text = (
        "{path}: the log has lost transactions, expected number {expected} as it was read, found "
        "{found}; open the database again, and ask whoever looks after the server"
    )


class IntegrityError(LogError):
    """Committed bytes are damaged. What does not need them can still be read."""

    path: str
    offset: int
    found: str
    expected: str
    text = (
        "{path}:{offset}: {found}, expected {expected}; run `python -m dobbin_like check {path}`"
    )


__all__ = [
    name
    for name, value in globals().items()
    if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == __name__
]
