"""The test suites of CPython for ``dict``, ``list`` and ``set``, run against the persistent ones.

Imported from the standard library, nothing is copied. On new objects that are checked out, and
on objects that are stored in a database, each a working copy; those tests that only read also
on new objects as they are made, and on objects in shared state. What cannot hold is in
``LEFT_OUT``, with the reason.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import unittest
from typing import Any

import pytest
import transaction

from dobbin_like import (
    Database,
    MemoryLog,
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentMeta,
    PersistentSet,
    checkout,
)
from dobbin_like.collections.common import Container
from dobbin_like.exc import InvalidObjectReference, NotStorableError
from dobbin_like.objects.deltas import overlays

NO_SUITES = "this Python comes without the package test of the standard library"
mapping_tests: Any = pytest.importorskip("test.mapping_tests", reason=NO_SUITES)
list_tests: Any = pytest.importorskip("test.list_tests", reason=NO_SUITES)
seq_tests: Any = pytest.importorskip("test.seq_tests", reason=NO_SUITES)
set_tests: Any = pytest.importorskip("test.test_set", reason=NO_SUITES)

# -- containers that are checked out, or stored, when their constructor returns ---------------


class OpenMeta(PersistentMeta):
    """Checks out what is new."""

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        made = super().__call__(*args, **kwargs)
        if isinstance(made, Persistent):
            checkout(made)
        return made


class StoredMeta(OpenMeta):
    """Fills one that was stored, and is a working copy by now."""

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        waiting = POOL.get(cls._p_faces.plain)
        if not waiting:  # a class inside a test can't be stored
            return super().__call__(*args, **kwargs)
        made = waiting.pop()
        checkout(made)
        assert made._p_serial is not None
        made.__init__(*args, **kwargs)
        return made


class LaidMeta(OpenMeta):
    """Stores what is new, with its items, and checks it out."""

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        made = PersistentMeta.__call__(cls, *args, **kwargs)
        if isinstance(made, Container):
            thread = threading.Thread(target=store, args=(made,))
            thread.start()
            thread.join()
            checkout(made)
        return made


def store(made: Any) -> None:
    """Store *made* in a transaction of this thread."""
    database = DATABASE[0]
    manager = database.transaction_manager
    try:
        checkout(database.root)
        database.root["made"] = made
        manager.commit()
    except (
        NotStorableError,
        InvalidObjectReference,
    ):  # A class inside a test, or an object of one.
        manager.abort()


class SharedMeta(PersistentMeta):
    """Stores what is new."""

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        made = super().__call__(*args, **kwargs)
        database = DATABASE[0]
        try:
            checkout(database.root)
            database.root["made"] = made
            database.transaction_manager.commit()
        except NotStorableError:  # a class inside a test, or an object of one
            database.transaction_manager.abort()
        return made


POOL: dict[Any, list[Any]] = {}
POOL_SIZE = 80
DATABASE: list[Any] = []


class Changeable:
    def copy(self) -> Any:
        made = super().copy()  # type: ignore[misc]
        checkout(made)
        return made


class OpenDict(Changeable, PersistentDict[Any, Any], metaclass=OpenMeta):
    pass


class OpenList(Changeable, PersistentList[Any], metaclass=OpenMeta):
    pass


class OpenSet(Changeable, PersistentSet[Any], metaclass=OpenMeta):
    pass


class StoredDict(Changeable, PersistentDict[Any, Any], metaclass=StoredMeta):
    pass


class StoredList(Changeable, PersistentList[Any], metaclass=StoredMeta):
    pass


class StoredSet(Changeable, PersistentSet[Any], metaclass=StoredMeta):
    pass


class LaidDict(Changeable, PersistentDict[Any, Any], metaclass=LaidMeta):
    pass


class LaidList(Changeable, PersistentList[Any], metaclass=LaidMeta):
    pass


class LaidSet(Changeable, PersistentSet[Any], metaclass=LaidMeta):
    pass


class SharedDict(PersistentDict[Any, Any], metaclass=SharedMeta):
    pass


class SharedList(PersistentList[Any], metaclass=SharedMeta):
    pass


class SharedSet(PersistentSet[Any], metaclass=SharedMeta):
    pass


class InDatabase:
    """The suite has a database, with objects that wait to be used, and are so again and again."""

    waiting: tuple[type, ...] = ()

    @classmethod
    def setUpClass(cls) -> None:
        cls.manager = transaction.ThreadTransactionManager()
        cls.database = Database(MemoryLog(), transaction_manager=cls.manager, allow=["test.*"])
        root = PersistentDict()
        checkout(root)
        cls.stored = {
            kind: [PersistentMeta.__call__(kind) for _ in range(POOL_SIZE)] for kind in cls.waiting
        }
        for kind, objects in cls.stored.items():
            root[kind.__name__] = objects
        cls.database.set_root(root)
        cls.manager.commit()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.database.close()
        del cls.database, cls.stored

    def setUp(self) -> None:
        for kind, objects in self.stored.items():
            assert not any(objects)
            POOL[kind] = objects.copy()
        DATABASE.append(self.database)
        super().setUp()  # type: ignore[misc]

    def tearDown(self) -> None:
        super().tearDown()  # type: ignore[misc]
        self.manager.abort()
        POOL.clear()
        DATABASE.clear()


class InOverlays(InDatabase):
    """As if every collection were a large one."""

    def setUp(self) -> None:
        super().setUp()
        self.small, overlays.SMALL = overlays.SMALL, -1  # type: ignore[misc]

    def tearDown(self) -> None:
        super().tearDown()
        overlays.SMALL = self.small  # type: ignore[misc]


# -- what is left out --------------------------------------------------------------------

OUR_REPR = "the representation names the class"
OUR_COPY = "copy() keeps the class, where that of a subclass of set does not"
KEPT = "what is checked out is kept until the transaction ends; TestNewSet has it"
ITEMS = "an iterator keeps the items, not the container"
COPIED = "checkout() of what is new and commit() copy the items"
OTHER_CLASS = "type() of what is checked out is not the class itself; TestNew has it"
OTHER_TYPE = "it is about another type alone"
GENERATOR = "an iterator over what is being changed is a generator"
WRITES = "it changes what it has made"

_WRITE_DICTS = (
    "test_clear test_getitem test_mutatingiteration test_pop test_popitem test_setdefault "
    "test_update test_write test_repr_deep"
)

LEFT_OUT = {
    "mapping": {"test_repr": OUR_REPR, "test_fromkeys": OTHER_CLASS},
    "list": {"test_repr": OUR_REPR, "test_free_after_iterating": ITEMS},
    "set": {
        "test_copy": OUR_COPY,
        "test_weakref": KEPT,
        "test_free_after_iterating": ITEMS,
    },
    "new mapping": {"test_repr": OUR_REPR, **dict.fromkeys(_WRITE_DICTS.split(), WRITES)},
    "new list": {
        "test_free_after_iterating": ITEMS,
        **dict.fromkeys("test_iadd test_imul".split(), WRITES),
    },
    "new set": {
        "test_free_after_iterating": ITEMS,
        **dict.fromkeys(
            "test_pickling test_init test_clear test_add test_remove test_discard test_pop "
            "test_update test_intersection_update test_difference_update "
            "test_symmetric_difference_update test_ior test_iand test_isub test_ixor "
            "test_inplace_on_self test_remove_keyerror_unpacking test_remove_keyerror_set "
            "test_do_not_rehash_dict_keys".split(),
            WRITES,
        ),
    },
    "shared mapping": {
        "test_repr": OUR_REPR,
        "test_fromkeys": WRITES,
        **dict.fromkeys(_WRITE_DICTS.split(), WRITES),
    },
    "shared list": {
        "test_free_after_iterating": ITEMS,
        **dict.fromkeys("test_iadd test_imul".split(), WRITES),
    },
    "shared set": {
        "test_free_after_iterating": ITEMS,
        "test_pickling": WRITES,
        "test_cyclical_repr": COPIED,
        "test_do_not_rehash_dict_keys": COPIED,
    },
    "rest of set": {"test_repr": OUR_REPR},
}

# Of the rest of test_set, which makes its sets by the name ``set``.
CLASSES_LEFT_OUT = {
    "TestFrozenSet": OTHER_TYPE,
    "TestFrozenSetSubclass": OTHER_TYPE,
    "TestFrozenSetSubclassWithSlots": OTHER_TYPE,
    "TestSetSubclassWithSlots": "persistent classes have no slots",
    "TestSet": "it is run by name",
    "TestSetSubclass": "it is TestSet once more",
}


def without(names: str) -> Any:
    """Return a base class for a suite that skips what is left out."""
    tests = {name: skipping(why) for name, why in LEFT_OUT[names].items()}
    if "set" not in names:
        tests.setdefault("test_repr_deep", shows_nothing_too_deep)
    return type("Without", (), tests)


def shows_nothing_too_deep(self: Any) -> None:
    """Do what CPython does, but no deeper than needed: ours is made in Python, not in C."""
    deep = self.type2test()
    for _ in range(sys.getrecursionlimit()):
        inside = deep
        if isinstance(deep, PersistentList):
            deep = self.type2test([inside])
        else:
            deep = self.type2test()
            deep[1] = inside
    with pytest.raises(RecursionError):
        repr(deep)


def skipping(reason: str) -> Any:
    return unittest.skip(reason)(lambda self: None)


# -- the suites ----------------------------------------------------------------------------


class FromData:
    """Makes a full mapping in one step."""

    def _full_mapping(self, data: Any) -> Any:
        return self.type2test(data)  # type: ignore[attr-defined]


class TestOpenDict(without("mapping"), mapping_tests.TestHashMappingProtocol):
    type2test = OpenDict


class TestStoredDict(without("mapping"), InDatabase, mapping_tests.TestHashMappingProtocol):
    type2test = StoredDict
    waiting = (StoredDict,)


class TestOverlaidDict(without("mapping"), InOverlays, mapping_tests.TestHashMappingProtocol):
    type2test = StoredDict
    waiting = (StoredDict,)


class TestLaidDict(without("mapping"), InOverlays, mapping_tests.TestHashMappingProtocol):
    type2test = LaidDict


class TestNewDict(without("new mapping"), FromData, mapping_tests.TestHashMappingProtocol):
    type2test = PersistentDict


class TestSharedDict(
    without("shared mapping"), FromData, InDatabase, mapping_tests.TestHashMappingProtocol
):
    type2test = SharedDict


class TestOpenList(without("list"), list_tests.CommonTest):
    type2test = OpenList


class TestStoredList(without("list"), InDatabase, list_tests.CommonTest):
    type2test = StoredList
    waiting = (StoredList,)


class TestOverlaidList(without("list"), InOverlays, list_tests.CommonTest):
    type2test = StoredList
    waiting = (StoredList,)


class TestLaidList(without("list"), InOverlays, list_tests.CommonTest):
    type2test = LaidList


class TestNewList(without("new list"), seq_tests.CommonTest):
    type2test = PersistentList


class TestSharedList(without("shared list"), InDatabase, seq_tests.CommonTest):
    type2test = SharedList


class TestOpenSet(without("set"), set_tests.TestSet):
    test_do_not_rehash_dict_keys = skipping(COPIED)
    thetype = OpenSet
    basetype = PersistentSet


class TestStoredSet(without("set"), InDatabase, set_tests.TestSet):
    thetype = StoredSet
    basetype = PersistentSet
    waiting = (StoredSet,)


class TestOverlaidSet(without("set"), InOverlays, set_tests.TestSet):
    test_do_not_rehash_dict_keys = skipping(COPIED)
    thetype = StoredSet
    basetype = PersistentSet
    waiting = (StoredSet,)


class TestLaidSet(without("set"), InOverlays, set_tests.TestSet):
    test_hash_collision_remove_add = skipping(COPIED)
    test_do_not_rehash_dict_keys = skipping(COPIED)
    test_cyclical_repr = skipping(COPIED)
    test_iterator_pickling = skipping(GENERATOR)
    thetype = LaidSet
    basetype = PersistentSet


class TestNewSet(without("new set"), set_tests.TestSet):
    test_hash_collision_remove_add = skipping(WRITES)
    thetype = PersistentSet
    basetype = PersistentSet


class TestSharedSet(without("shared set"), InDatabase, set_tests.TestJointOps, unittest.TestCase):
    thetype = SharedSet
    basetype = PersistentSet


# -- the rest of the suite for sets, which makes its sets by the name ``set`` --------------------


class OpenSubclass(OpenSet):
    pass


class StoredSubclass(StoredSet):
    pass


class LaidSubclass(LaidSet):
    pass


class OurSets:
    """What the suite has made when it was imported is made again, of our class."""

    ours: dict[type, type]

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        for name in dir(self):
            value = getattr(self, name)
            if type(value) is set:
                setattr(self, name, self.ours[set](value))
            elif isinstance(value, type) and value in self.ours:
                setattr(self, name, self.ours[value])


def suites_by_name(cls: Any, subclass: Any) -> dict[str, type]:
    """Return the other suites of test_set, in which the name ``set`` means *cls*."""
    kinds: Any = {StoredSet: (InDatabase,), LaidSet: (InOverlays,)}
    spec = importlib.util.find_spec("test.test_set")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bases = (OurSets, *kinds.get(cls, ()))
    content: dict[str, Any] = {
        "ours": {set: cls, module.SetSubclass: subclass},
        "waiting": (cls, subclass) if cls is StoredSet else (),
    }
    left_out = {
        **LEFT_OUT["rest of set"],
        **({"test_iteration": GENERATOR} if cls is LaidSet else {}),
    }
    suites = {
        f"{name}Of{cls.__name__}": type(
            name,
            (*bases, case),
            content | {n: skipping(why) for n, why in left_out.items() if hasattr(case, n)},
        )
        for name, case in vars(module).items()
        if isinstance(case, type)
        and issubclass(case, unittest.TestCase)
        and name not in CLASSES_LEFT_OUT
    }
    if cls is LaidSet:
        for name, suite in suites.items():
            suites[name] = pytest.mark.slow(suite) if "Mutating" in name else suite
    module.set = cls
    module.SetSubclass = subclass
    return suites


globals().update(suites_by_name(OpenSet, OpenSubclass))
globals().update(suites_by_name(StoredSet, StoredSubclass))
globals().update(suites_by_name(LaidSet, LaidSubclass))


@pytest.mark.parametrize("names", LEFT_OUT)
def test_what_is_left_out_is_there(names: str) -> None:
    suite = {
        "mapping": mapping_tests.TestHashMappingProtocol,
        "list": list_tests.CommonTest,
        "set": set_tests.TestSet,
        "rest of set": set_tests.TestBasicOps,
    }[names.removeprefix("new ").removeprefix("shared ")]

    assert [name for name in LEFT_OUT[names] if not hasattr(suite, name)] == []
