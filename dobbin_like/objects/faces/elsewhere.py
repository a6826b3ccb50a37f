"""Names that other databases and collections have: what there is instead of them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

from dobbin_like.exc import NoSuchAttributeError
from dobbin_like.objects.values.refs import in_class

_Class = TypeVar("_Class", bound=type)

IN_OBJECTS: Final = {
    "_p_activate": "an object is read when it is first used",
    "_p_changed": (
        "what is changed after checkout(obj) is noticed, in lists and dicts too; touch(obj) lets "
        "it be stored as it is, is_changed(obj) asks"
    ),
    "_p_connection": "_p_jar is the database of an object",
    "_p_deactivate": "an object that nothing refers to leaves memory by itself",
    "_p_estimated_size": "db.census() has the sizes of all objects by class",
    "_p_invalidate": "transaction.abort() drops what was changed",
    "_p_mtime": "_p_serial is the tid that changed the object, db.history(obj) has the times",
    "_p_note_change": "call checkout(obj) before the change, nothing after it",
    "_p_resolveConflict": "define _p_resolve_conflict(old_state, saved_state, new_state)",
    "_p_state": "is_checked_out(obj) and is_changed(obj) tell what the thread has done to it",
    "_p_status": "is_checked_out(obj) and is_changed(obj) tell what the thread has done to it",
}
"""Attributes and methods of a persistent object, by name."""

_MEMORY: Final = "an object that nothing refers to leaves memory by itself"
_NO_CONNECTIONS: Final = (
    "there are no connections; each thread uses the database as it is, and db.root is the root "
    "itself, which is not called"
)
_TRANSACTIONS: Final = (
    "transactions are those of the transaction package: transaction.begin(), commit(), abort(), "
    "or a block, with db.transaction() as root"
)
_BLOCKS: Final = "with db.transaction() as root: is a transaction, and a savepoint in another one"
_REACHED: Final = (
    "what can be reached from the root is stored at commit, nothing has to be added; see "
    "db.set_root(obj)"
)
_TAKE_OFF: Final = (
    "take the object out of what leads to it, del root['key'] for one; db.discard(obj) takes it "
    "out of the indexes, and db.pack() drops what the root does not lead to"
)
_FIND: Final = (
    "db.find(Class, name=value) finds objects by their attributes, and its first() one of them; "
    "db.instances(Class) are all"
)
_NO_SQL: Final = f"there is no SQL; {_FIND}"
_SIZES: Final = (
    "len(db) is the number of objects, db.stats() has the bytes of the log, db.census() the "
    "sizes by class"
)
_CHECK: Final = "call dobbin_like.check.check_database(db), or dobbin check in a shell"
_BY_ROOT: Final = "the database is no mapping; db.root is the object that leads to all others"
_PLACE: Final = "db.storage.path is where the data are"
_CALLS: Final = "a function of the package: from dobbin_like import {0}; {0}(obj)"

_SET_ROOT: Final = "db.set_root(obj) lets an object be the root"

IN_DATABASES: Final = {
    "abort": _TRANSACTIONS,
    "add": _REACHED,
    "add_all": _REACHED,
    "all": _FIND,
    "atomic": _BLOCKS,
    "begin": _TRANSACTIONS,
    "begin_nested": _BLOCKS,
    "cacheGC": _MEMORY,
    "cacheMinimize": _MEMORY,
    "check": _CHECK,
    "checkout": _CALLS.format("checkout"),
    "commit": _TRANSACTIONS,
    "compact": "db.pack() drops what is not needed any more",
    "conn": _NO_CONNECTIONS,
    "connect": _NO_CONNECTIONS,
    "connection": _NO_CONNECTIONS,
    "count": f"{_SIZES}; len(list(db.find(Class, name=value))) counts those that fit",
    "create_index": "db.index(Class, 'name') makes an index",
    "cursor": _NO_SQL,
    "db": _NO_CONNECTIONS,
    "delete": _TAKE_OFF,
    "diff": "db.transactions() and db.history(obj) tell what changed; dobbin diff in a shell",
    "drop": _TAKE_OFF,
    "dump": "db.backup(path) copies the log; dobbin export in a shell writes JSON",
    "elect": _SET_ROOT,
    "elect_as_root": _SET_ROOT,
    "execute": _NO_SQL,
    "expire": "transaction.abort() drops what was changed",
    "export": "dobbin export in a shell writes JSON; db.backup(path) copies the log",
    "fetch": _FIND,
    "filename": _PLACE,
    "filter": _FIND,
    "find_all": _FIND,
    "find_one": _FIND,
    "flush": _TRANSACTIONS,
    "getSize": "len(db) is the number of objects, db.stats() has more",
    "get_connection": _NO_CONNECTIONS,
    "get_storage": "db.storage is the storage",
    "insert": _REACHED,
    "items": _BY_ROOT,
    "keys": _BY_ROOT,
    "last_tid": "db.tid is that of the last transaction that the thread sees",
    "load": "db.root is the root, db.get(oid) an object by its oid",
    "objectCount": "len(db) is the number of objects",
    "oldstate": "db.at(tid) shows the objects as of a transaction, db.history(obj) has all states",
    "onCloseCallback": "close() closes the database for all threads of the process",
    "open": _NO_CONNECTIONS,
    "path": _PLACE,
    "put": _REACHED,
    "query": _FIND,
    "readCurrent": "touch(obj) makes a change of it by others a conflict",
    "refresh": "transaction.begin() and abort() show what others have committed",
    "reload": "transaction.begin() and abort() show what others have committed",
    "remove": _TAKE_OFF,
    "rename": "db.rename_class(old, new) renames a class",
    "rollback": "transaction.abort() drops what was changed; an error that leaves a block does it",
    "save": _TRANSACTIONS,
    "savepoint": f"transaction.savepoint() makes one; {_BLOCKS}",
    "select": _FIND,
    "session": _BLOCKS,
    "setCacheSize": _MEMORY,
    "set": _BY_ROOT,
    "shrink_cache": _MEMORY,
    "size": _SIZES,
    "store": _REACHED,
    "sync": "transaction.begin() and abort() show what others have committed",
    "touch": _CALLS.format("touch"),
    "undoInfo": "db.transactions() has them, db.undo(tid) undoes one",
    "undoLog": "db.transactions() has them, db.undo(tid) undoes one",
    "undoMultiple": "call db.undo(tid) for each, the newest first",
    "update": _REACHED,
    "vacuum": "db.pack() drops what is not needed any more",
    "values": _BY_ROOT,
    "verify": _CHECK,
    "where": _FIND,
    "xconnections": _NO_CONNECTIONS,
}
"""Methods of a database or a connection, by name."""

_GET: Final = "get() takes the oldest item out, peek() only looks at it"
_PUT: Final = "put(item) adds it at the end"
_NO_SIZE: Final = "it has no greatest size"
_ORDERED: Final = "it has no other end: get() takes the oldest item, put(item) adds the newest"

IN_QUEUES: Final = {
    "append": _PUT,
    "appendleft": _ORDERED,
    "dequeue": _GET,
    "empty": "use `not queue`",
    "enqueue": _PUT,
    "extend": "put(item) adds each",
    "first": _GET,
    "full": _NO_SIZE,
    "get_nowait": _GET,
    "insert": _ORDERED,
    "join": "`not queue` tells that all have been taken",
    "pop": _GET,
    "popleft": _GET,
    "push": _PUT,
    "put_nowait": _PUT,
    "qsize": "len(queue) is the number of items",
    "size": "len(queue) is the number of items",
    "task_done": "what get() takes is gone with the commit; a JobQueue is for work that may fail",
}
"""Methods of a PersistentQueue, by name."""

_MORE: Final = "increment(by) adds, decrement(by) subtracts"
_NOT_SET: Final = f"a counter is not set, which would lose what others add; {_MORE}"

IN_COUNTERS: Final = {
    "add": _MORE,
    "change": _MORE,
    "count": "value is the number",
    "dec": _MORE,
    "decr": _MORE,
    "get": "value is the number",
    "inc": _MORE,
    "incr": _MORE,
    "reset": _NOT_SET,
    "set": _NOT_SET,
    "subtract": _MORE,
    "sub": _MORE,
}
"""Methods of a PersistentCounter, by name."""

_DONE: Final = "leave the block of a claim without an error, or call its ack()"
_CANCEL: Final = "cancel(job) takes out a job that no worker has claimed"
_CLAIM: Final = "claim() gives a worker the next job for a time, claims() one after the other"

_FAILED: Final = "let the error leave the block of a claim, or call its nack()"
_PUT_JOB: Final = "put(item) adds a job"

IN_JOB_QUEUES: Final = {
    "ack": _DONE,
    "add": _PUT_JOB,
    "append": _PUT_JOB,
    "delete": _CANCEL,
    "discard": _CANCEL,
    "done": _DONE,
    "enqueue": _PUT_JOB,
    "fail": _FAILED,
    "full": _NO_SIZE,
    "get": _CLAIM,
    "get_nowait": "claim(timeout=0) claims the next job if there is one",
    "join": "empty() tells that none can be claimed now, len(queue) how many are not done",
    "nack": _FAILED,
    "peek": "iteration shows the jobs in the order in which they would be claimed",
    "pop": _CLAIM,
    "popleft": _CLAIM,
    "push": _PUT_JOB,
    "put_nowait": _PUT_JOB,
    "release": "release() of a claim gives its job back",
    "remove": _CANCEL,
    "retry": "requeue(job) lets a dead job be tried again",
    "revoke": _CANCEL,
    "size": "len(queue) counts the jobs that are not done, qsize() those to be claimed",
    "submit": _PUT_JOB,
    "take": _CLAIM,
    "task_done": _DONE,
}
"""Methods of a JobQueue, by name."""

_RANGE: Final = "items_range(start, end) goes over a range in either direction"

IN_TREES: Final = {
    "append": "a tree has an order of its own; its keys or members are set or added",
    "byValue": "sort what items() has, or keep a second tree by the values",
    "first": "min_item() is the first, max_item() the last",
    "has_key": "use `key in tree`",
    "insert": "a tree has an order of its own; its keys or members are set or added",
    "irange": _RANGE,
    "iteritems": f"iteration and items() load as they go; {_RANGE}",
    "iterkeys": f"iteration and items() load as they go; {_RANGE}",
    "itervalues": f"iteration and items() load as they go; {_RANGE}",
    "last": "min_item() is the first, max_item() the last",
    "maxKey": "max_item() is the last item, prev_item(key) the one before a key",
    "max_key": "max_item() is the last item, prev_item(key) the one before a key",
    "minKey": "min_item() is the first item, next_item(key) the one after a key",
    "min_key": "min_item() is the first item, next_item(key) the one after a key",
    "peekitem": "min_item() is the first, max_item() the last; a place has no number",
    "range": _RANGE,
}
"""Methods of a BTree or BTreeSet, by name."""

IN_SETS: Final = {"append": "add(member) adds one", "insert": "add(member) adds one"}
"""Methods of a PersistentSet, by name."""

IN_LISTS: Final = {"add": "append(item) adds one", "push": "append(item) adds one"}
"""Methods of a PersistentList, by name."""

_IN_ONE_CALL: Final = "find(Class, name=value, order_by='name', limit=10) takes all at once"
_FIRST: Final = "first() is the first object, or None"

IN_FOUND: Final = {
    "all": "list() of it has all objects",
    "delete": _TAKE_OFF,
    "exclude": _IN_ONE_CALL,
    "exists": "it is true if there is an object: if db.find(...)",
    "fetchall": "list() of it has all objects",
    "filter": _IN_ONE_CALL,
    "filter_by": _IN_ONE_CALL,
    "get": _FIRST,
    "last": f"{_FIRST}; with reverse=True that is the last",
    "limit": _IN_ONE_CALL,
    "one": _FIRST,
    "one_or_none": _FIRST,
    "order_by": _IN_ONE_CALL,
    "remove": _TAKE_OFF,
    "sort": _IN_ONE_CALL,
    "update": "check each object out, and set its attributes",
    "where": _IN_ONE_CALL,
}
"""Methods of what find() returns, by name."""

_OTHERS: Final = "names with _p_ are reserved; take another one, _v_ if it shall not be stored"


def no_attribute(obj: Any, name: str) -> AttributeError:
    """Return the error of the interpreter for an attribute that is not there."""
    text = f"{type(obj).__name__!r} object has no attribute {name!r}"
    return AttributeError(text, name=name, obj=obj)


def no_such_attribute(obj: Any, name: str) -> NoSuchAttributeError:
    """Return the error for an attribute with ``_p_`` that is not there, or can't be set."""
    return NoSuchAttributeError(type(obj).__name__, name, IN_OBJECTS.get(name, _OTHERS))


class Elsewhere:
    """An attribute that is not there, and says so."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        if obj is None:
            return self
        raise no_such_attribute(obj, self._name)

    def __set__(self, obj: Any, value: Any) -> None:
        raise no_such_attribute(obj, self._name)


class Instead:
    """A method that is not there, and says so. It gives way to an attribute of this name.

    Nor is it in the class: a dataclass would take it for a default.
    """

    def __init__(self, name: str, instead: str) -> None:
        self._name, self._instead = name, instead

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        name = (owner if obj is None else type(obj)).__name__
        raise NoSuchAttributeError(name, self._name, self._instead)


def telling(names: dict[str, str]) -> Callable[[_Class], _Class]:
    """Return a class decorator that lets instances tell what there is instead of *names*.

    Without ``__getattr__``, which would make each reading of an attribute slower.
    """

    def complete(cls: Any) -> Any:
        def __dir__(self: Any) -> list[str]:  # noqa: N807
            there = super(cls, self).__dir__()
            face, own = type(self), vars(self)
            return [x for x in there if x not in names or x in own or is_there(face, x)]

        for name, instead in names.items():
            setattr(cls, name, Instead(name, instead))
        cls.__dir__ = __dir__
        return cls

    return complete


def telling_getattr(names: Mapping[str, str]) -> Callable[[Any, str], NoReturn]:
    """Return a ``__getattr__`` that tells what there is instead of *names*; see telling()."""

    def get_attribute(obj: Any, name: str) -> NoReturn:
        instead = names.get(name)
        if instead is None:
            raise no_attribute(obj, name)
        raise NoSuchAttributeError(type(obj).__name__, name, instead)

    return get_attribute


def is_there(cls: type, name: str) -> bool:
    """Return whether *name* of a class is more than an :class:`Instead`. Runs no code of it."""
    return type(in_class(cls, name)) is not Instead


class FixedProperty(property):
    """A property that can't be set, after a checkout either; *instead* says what to do."""

    def __init__(self, get: Callable[[Any], Any], instead: str) -> None:
        super().__init__(get)
        self._instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, obj: Any, value: Any) -> None:
        raise self.refusal(obj)

    def refusal(self, obj: Any) -> NoSuchAttributeError:
        """Return the error for setting it."""
        return NoSuchAttributeError(type(obj).__name__, f"setter of {self._name}", self._instead)
