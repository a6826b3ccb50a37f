"""Values that their class does not make any more of what is stored."""

from __future__ import annotations

import importlib
import sys
import textwrap

import pytest
import transaction

from dobbin_like import Database, PersistentDict, PersistentList, PersistentSet, checkout
from dobbin_like.check import check_database, check_log
from dobbin_like.exc import ValueNotRebuiltError
from tests.helpers.processes import python_path, run

BEFORE = """
import collections, dataclasses, enum
from dobbin_like import Persistent

@dataclasses.dataclass(slots=True)
class Slots:
    width: int = 1
    height: int = 2

Point = collections.namedtuple("Point", "x y")

class State:
    def __init__(self):
        self.amount = 3
    def __setstate__(self, state):
        self.__dict__.update(state)
    def __eq__(self, other):
        return vars(self) == vars(other)

class Init:
    def __init__(self, amount=3):
        self.amount = amount
    def __reduce__(self):
        return Init, (self.amount,)
    def __eq__(self, other):
        return vars(self) == vars(other)

class Badge(Persistent):
    def __init__(self):
        self.code = 1
    def __hash__(self):
        return hash(self.code)
    def __eq__(self, other):
        return self is other

class Named:
    def __new__(cls, *, amount=3):
        self = super().__new__(cls)
        self.amount = amount
        return self
    def __getnewargs_ex__(self):
        return (), {"amount": self.amount}
    def __eq__(self, other):
        return vars(self) == vars(other)

class Key:
    def __init__(self):
        self.name = "a"
    def __hash__(self):
        return hash(self.name)
    def __eq__(self, other):
        return self.name == other.name

class Items(list):
    pass

class Row(list):
    pass

class Cell(list):
    pass

class Pairs(dict):
    pass

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Size:
    width: int = 1

class Doc(Persistent):
    def __init__(self, value):
        self.title, self.value = "the title", value
"""

# One class at a time gets other code.
AFTER = {
    "Slots": ("height: int", "depth: int"),
    "Point": ('"x y"', '"x y z"'),
    "State": ("self.__dict__.update(state)", "raise RuntimeError('no')"),
    "Init": (
        "amount=3):\n        self.amount = amount\n    def __reduce__",
        "):\n        pass\n    def __reduce__",
    ),
    "Named": ("*, amount=3", "*, price=3"),
    "Key": ("hash(self.name)", "hash(self.title)"),
    "Items": (
        "class Items(list):\n    pass",
        "class Items(list):\n    def extend(self, _): raise ValueError('full')",
    ),
    "Row": ("class Row(list)", "class Row(tuple)"),
    "Cell": ("class Cell(list)", "class Cell(tuple)"),
    "Pairs": (
        "class Pairs(dict):\n    pass",
        "class Pairs(dict):\n    def __setitem__(self, *_): raise ValueError('full')",
    ),
    "Colour": (
        "RED = 1",
        "BLUE = 1\n    @classmethod\n    def _missing_(cls, _): raise RuntimeError('no')",
    ),
}
AFTER["Size"] = ("class Size:", "class Size(Persistent):")
MAKE = {
    "Size": lambda m: m.Size(),
    "Slots": lambda m: m.Slots(),
    "Point": lambda m: m.Point(1, 2),
    "State": lambda m: m.State(),
    "Init": lambda m: m.Init(),
    "Named": lambda m: m.Named(),
    "Key": lambda m: m.Key(),
    "Items": lambda m: m.Items([1, 2]),
    "Row": lambda m: m.Row([1, 2]),
    "Cell": lambda m: m.Cell([1]),
    "Pairs": lambda m: m.Pairs(a=1),
    "Colour": lambda m: m.Colour.RED,
}
WRAP = {
    "alone": lambda value: value,
    "deep": lambda value: [(1, {"a": [value]}), value],
    "key": lambda value: {value: 1, "other": 2},
    "member": lambda value: {value, 1},
    "frozen": lambda value: (frozenset({value, 1}),),
    "key tuple": lambda value: {(value, 1): [value]},
}
HASHABLE = {"Point", "Key", "Colour"}
CASES = [
    (kind, wrap)
    for kind in MAKE
    for wrap in WRAP
    if (kind != "Key" if wrap in ("alone", "deep") else kind in HASHABLE)
]


class Docs:
    """The module of the documents, as it was and as it is."""

    def __init__(self, folder):
        self._file = folder / "rebuild_docs.py"

    def __call__(self, *change):
        text = BEFORE
        for old, new in zip(change[::2], change[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        self._file.write_text(textwrap.dedent(text))
        sys.modules.pop("rebuild_docs", None)
        importlib.invalidate_caches()
        return importlib.import_module("rebuild_docs")


@pytest.fixture
def docs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Docs(tmp_path)
    sys.modules.pop("rebuild_docs", None)


def opened(path):
    return Database(path, allow=["rebuild_docs.*"])


def stored(path, value):
    with opened(path) as database:
        database.set_root(PersistentDict(doc=value))
        transaction.commit()


@pytest.mark.parametrize(("kind", "wrap"), CASES)
def test_the_rest_of_the_object_is_read_changed_and_stored(path, docs, kind, wrap):
    # Every attribute raised what the value's class did; getattr() gave its default.
    before = docs()
    stored(path, before.Doc(WRAP[wrap](MAKE[kind](before))))

    docs(*AFTER[kind])
    with opened(path) as database:
        doc = database.root["doc"]
        assert getattr(doc, "title", "DEFAULT") == "the title"
        assert "value" in vars(doc)
        checkout(doc)
        doc.title = "changed"
        transaction.commit()
        assert in_repr(doc.value)
        check_database(database).raise_if_bad()

    before = docs()
    with opened(path) as database:
        doc = database.root["doc"]
        assert doc.title == "changed"
        assert doc.value == WRAP[wrap](MAKE[kind](before))


def in_repr(value):
    return "stand-in for" in repr(value)


@pytest.mark.parametrize("kind", sorted(MAKE.keys() - {"Colour"}))
def test_using_the_value_says_why_it_is_not_there(path, docs, kind):
    before = docs()
    stored(path, before.Doc(MAKE[kind](before)))
    docs(*AFTER[kind])

    # An object that nothing asks for a hash is as it was.
    with opened(path) as database:
        value = database.root["doc"].value
        if kind == "Key":
            assert value.name == "a"
            return
        with pytest.raises(ValueNotRebuiltError, match=f"a rebuild_docs.{kind} can't be") as e:
            value.amount  # noqa: B018
        assert (e.value.module, e.value.qualname) == ("rebuild_docs", kind)
        with pytest.raises(ValueNotRebuiltError):
            len(value)


@pytest.mark.parametrize("kind", sorted(MAKE.keys() - {"Colour", "Key"}))
def test_a_check_lists_the_value_if_its_class_may_be_loaded(path, docs, kind):
    before = docs()
    stored(path, before.Doc([1, MAKE[kind](before)]))
    docs(*AFTER[kind])

    assert check_log(path).not_rebuilt == []
    report = check_log(path, allow=["rebuild_docs.*"])
    [note] = report.not_rebuilt
    assert (note.oid, note.class_name) == (1, "rebuild_docs.Doc")
    assert (note.path, note.name) == (".value[1]", f"rebuild_docs.{kind}")
    assert str(note) in str(report)
    assert report.ok

    docs()
    assert check_log(path, allow=["rebuild_docs.*"]).not_rebuilt == []


def test_an_upgrade_gets_what_is_stored(path, docs):
    before = docs()
    stored(path, before.Doc(before.Point(1, 2)))
    docs(
        '("Point", "x y")',
        '("Point", "x y z")',
    )
    upgrade = """class Doc(Persistent):
    _p_version = 1
    @staticmethod
    def _p_migrate(state, version):
        return {**state, "value": Point(*state["value"]._p_args, 0)}
"""
    text = BEFORE.replace('"x y"', '"x y z"').replace("class Doc(Persistent):\n", upgrade)
    docs._file.write_text(text)
    sys.modules.pop("rebuild_docs")
    importlib.invalidate_caches()
    with opened(path) as database:
        assert database.root["doc"].value == (1, 2, 0)


def test_of_many_values_only_those_that_fail_have_stand_ins(path, docs):
    module = docs()
    values = [module.Init(n) for n in range(100)]
    shared = [1]
    stored(path, module.Doc([values, shared, shared, (values[7],)]))
    docs(
        "self.amount = amount\n    def __reduce__",
        "self.amount = 1 // (amount % 10)\n    def __reduce__",
    )
    with opened(path) as database:
        made, one, other, (seventh,) = database.root["doc"].value
        assert [n for n, value in enumerate(made) if in_repr(value)] == list(range(0, 100, 10))
        assert one is other
        assert seventh is made[7]


def test_a_value_that_leads_to_itself_gets_one_stand_in(path, docs):
    module = docs()
    value = module.State()
    value.me = [value]
    stored(path, module.Doc({"a": value, "b": value}))
    docs(*AFTER["State"])
    with opened(path) as database:
        found = database.root["doc"].value
        assert found["a"] is found["b"]
        assert found["a"]._p_state["me"][0] is found["a"]


@pytest.mark.parametrize("size", [3, 200])
@pytest.mark.parametrize("make", [PersistentList, PersistentSet, PersistentDict.fromkeys])
def test_items_of_a_collection_that_fail_do_not_hide_the_others(path, docs, make, size):
    module = docs()
    stored(path, make([*range(size), module.Point(1, 2)]))
    with opened(path) as database:
        doc = database.root["doc"]
        checkout(doc)
        more = module.Point(3, 4)
        if isinstance(doc, PersistentDict):
            doc[more] = 1
        else:
            (doc.add if isinstance(doc, PersistentSet) else doc.append)(more)
        transaction.commit()
    docs(*AFTER["Point"])
    with opened(path) as database:
        doc = database.root["doc"]
        assert len(doc) == size + 2
        assert size - 1 in doc
        assert sum(map(in_repr, doc)) == 2


@pytest.mark.parametrize("make", [PersistentSet, lambda keys: PersistentDict.fromkeys(keys, 1)])
def test_a_collection_of_which_a_key_has_no_hash_says_so_and_can_be_shown(path, docs, make):
    # The error told the dict to take what is stored, and repr() raised it.
    module = docs()
    stored(path, make([module.Badge()]))
    docs("hash(self.code)", "hash(self.colour)")
    with opened(path) as database:
        doc = database.root["doc"]
        kind = "set" if isinstance(doc, PersistentSet) else "dict"
        assert repr(doc).startswith(f"{type(doc).__name__}(<stand-in for builtins.{kind}: Attr")
        for use in len, list:
            with pytest.raises(ValueNotRebuiltError, match=f"a {kind} can't .* correct __hash__"):
                use(doc)
    docs()
    with opened(path) as database:
        assert len(database.root["doc"]) == 1
        assert repr(database.root["doc"]).count("Badge oid") == 1


@pytest.mark.parametrize("error", ["OSError('gone')", "MemoryError('full')"])
def test_what_may_be_gone_the_next_time_is_raised_with_the_name_of_the_object(path, docs, error):
    module = docs()
    stored(path, module.Doc(module.State()))
    module = docs("self.__dict__.update(state)", f"raise {error}")
    with opened(path) as database:
        with pytest.raises((OSError, MemoryError)) as e:
            database.root["doc"].title  # noqa: B018
        assert e.value.__notes__ == ["while the state of rebuild_docs.Doc oid 1 was read"]
        module.State.__setstate__ = lambda self, state: vars(self).update(state)
        assert database.root["doc"].title == "the title"


def test_the_command_lists_the_values(path, docs, tmp_path):
    module = docs()
    stored(path, module.Doc(module.Slots()))
    docs(*AFTER["Slots"])
    command = [sys.executable, "-m", "dobbin_like", "check", "--allow", "rebuild_docs.*", path]
    done = run(command, cwd=tmp_path, capture_output=True, text=True, env=python_path())
    assert done.returncode == 1
    assert "Doc oid 1 at .value: a rebuild_docs.Slots can't be rebuilt: Attr" in done.stdout


def test_a_value_of_a_class_that_is_persistent_now_says_what_to_do(path, docs):
    before = docs()
    stored(path, before.Doc([before.Size(3)]))

    docs(*AFTER["Size"])
    with opened(path) as database:
        value = database.root["doc"].value[0]
        with pytest.raises(ValueNotRebuiltError, match="when its class was not persistent") as e:
            value.width  # noqa: B018
        assert "give the persistent class another name, or make an object" in str(e.value)
        assert "import" not in str(e.value)
        checkout(database.root["doc"])
        database.root["doc"].title = "changed"
        transaction.commit()

    migrate = """class Doc(Persistent):
    _p_version = 1

    @staticmethod
    def _p_migrate(state, version):
        return {**state, "value": [Size(**each._p_state) for each in state["value"]]}
"""
    after = docs(*AFTER["Size"], "class Doc(Persistent):\n", migrate)
    with opened(path) as database:
        assert database.migrate(after.Doc) == 1
    with opened(path) as database:
        doc = database.root["doc"]
        assert (doc.title, doc.value[0].width, type(doc.value[0])) == ("changed", 3, after.Size)
        assert doc.value[0]._p_oid is not None
