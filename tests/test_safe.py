"""The keyed store: each access is its own transaction, for all threads and processes."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import types
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, Persistent, PersistentDict, PersistentList, checkout, safe
from dobbin_like.check import check_log
from dobbin_like.exc import (
    BlockError,
    ClosedError,
    LockTimeout,
    LogMovedError,
    NotALogError,
    NotASafeError,
    NotStorableError,
    ReadOnlyStorageError,
    SafeDirectoryError,
    SelfWaitError,
    UncommittedChangesWarning,
)
from dobbin_like.safe import opening
from dobbin_like.safe.block import SafeBlock
from dobbin_like.safe.stored import LARGE_BYTES
from tests.helpers.interrupts import (
    each_step,
    handled_at_step,
    interrupted,
    interrupted_at_step,
    interrupting,
)
from tests.helpers.processes import forked, forked_in_c, python_path, run, start
from tests.helpers.steps import Steps, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
LARGE = "x" * (LARGE_BYTES + 1)


@dataclass
class Point:
    x: int
    tags: list[str]


class Colour(enum.Enum):
    RED = 1


class Name(str):
    __slots__ = ()


class Plain:
    """Of no kind that is loaded without being allowed."""

    def __init__(self, x: Any) -> None:
        self.x = x


class Node(Persistent):
    def __init__(self, n: int) -> None:
        self.n = n
        self.parts: list[int] = [n]


@pytest.fixture
def kept(path: Path) -> Iterator[safe.Safe]:
    """A safe; at the end, its log is checked."""
    with safe.open(path, pack_when=None) as made:
        yield made
    check_log(path).raise_if_bad()


@pytest.fixture
def reopened(path: Path) -> Iterator[Callable[..., dict[Any, Any]]]:
    """Tell what another one, that has the file open from the start, finds in it."""
    opened: list[safe.Safe] = []

    def content() -> dict[Any, Any]:
        if not opened:
            opened.append(safe.open(path, pack_when=None))
        return dict(opened[0].items())

    yield content
    for other in opened:
        other.close()


# -- one access --------------------------------------------------------------------------


def test_what_was_assigned_is_there_for_others_at_once(kept, reopened):
    assert reopened() == {}
    kept["foo"] = [1, {"a": (2, None)}]
    assert reopened() == {"foo": [1, {"a": (2, None)}]}
    kept["foo"] = 5
    kept[b"k"] = kept[7] = kept["a", 1] = "other keys"
    del kept["foo"]
    assert reopened() == {b"k": "other keys", 7: "other keys", ("a", 1): "other keys"}
    assert list(kept) == list(reopened()) == [7, ("a", 1), b"k"] or list(kept) == [
        b"k",
        7,
        ("a", 1),
    ]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        "text",
        b"bytes",
        LARGE,
        [LARGE, {"a": {1, 2}}, bytearray(b"b")],
        (1, [2]),
        Point(1, ["a"]),
        [Point(1, [LARGE])],
        Colour.RED,
        datetime(2026, 1, 1, tzinfo=UTC),
        frozenset({1}),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_a_value_comes_back_as_it_was_and_is_an_own_copy(kept, path, value):
    kept["v"] = value
    with safe.open(path, "r") as again:
        for each in (kept, again):
            found = each["v"]
            assert found == value
            assert type(found) is type(value)
            if isinstance(value, (list, Point)):
                assert found is not each["v"]


def test_changes_of_a_copy_are_not_stored(kept):
    value = [[1], Point(1, ["a"]), LARGE]
    kept["v"] = value
    value[0].append(2)
    value[1].tags.append("b")
    found = kept["v"]
    found[0].append(3)
    found[1].tags.append("c")
    found.append(4)

    assert kept["v"] == [[1], Point(1, ["a"]), LARGE]
    assert kept.get("v") == kept.setdefault("v") == next(iter(kept.values())) == kept["v"]


def test_persistent_objects_are_copied_as_all_values_are(kept, reopened):
    node = Node(1)
    kept["nodes"] = PersistentDict(a=node, b=PersistentList([node]))
    assert node._p_oid is None

    found = kept["nodes"]
    assert found["a"] is found["b"][0]
    assert found["a"] is not kept["nodes"]["a"]
    assert (found["a"].n, found["a"].parts, found["a"]._p_oid) == (1, [1], None)
    checkout(found["a"])
    found["a"].n = 2
    assert kept["nodes"]["a"].n == 1
    kept["nodes"] = found
    assert reopened()["nodes"]["b"][0].n == 2


def test_a_safe_that_is_made_by_its_class_is_told_how_it_is_opened(tmp_path):
    for given in (), (tmp_path / "x",), (tmp_path / "x", "c"):
        with pytest.raises(TypeError, match=r"call safe\.open\(path\)"):
            safe.Safe(*given)


def test_what_cannot_be_stored_is_refused_and_nothing_is_stored(kept, reopened):
    kept["a"] = 1
    with pytest.raises(NotStorableError) as caught:
        kept["a"] = {"x": [1, lambda: 1]}
    assert caught.value.path == "._items['a']['x'][1]"
    with pytest.raises(NotStorableError):
        kept.update({"a": 2, "b": threading.Lock()})
    with pytest.raises(NotStorableError, match="allow"):
        kept["a"] = Plain(1)

    def change() -> None:
        with kept.transaction():
            kept["a"] = 2
            kept["b"] = Plain(1)

    with pytest.raises(NotStorableError):
        change()
    assert dict(kept) == reopened() == {"a": 1}


def test_a_class_that_is_allowed_is_stored(path):
    with safe.open(path, allow=[f"{__name__}.Plain"]) as kept:
        kept["a"] = Plain([1])
        kept["a"].x.append(2)
        assert kept["a"].x == [1]


@pytest.mark.parametrize("key", [None, 1.5, True, frozenset(), ("a", None), Colour.RED])
def test_other_keys_are_refused_and_are_not_there(kept, key):
    kept[1] = kept["a"] = 0
    with pytest.raises(TypeError, match="a key of a safe is"):
        kept[key] = 1
    assert key not in kept
    assert kept.get(key, "no") == kept.pop(key, "no") == "no"
    for missing in (lambda: kept[key], lambda: kept.pop(key), lambda: kept.__delitem__(key)):
        with pytest.raises(KeyError):
            missing()
    assert len(kept) == 2


def test_a_key_of_a_subclass_of_str_is_a_str(kept):
    kept[Name("a")] = 1
    assert [type(key) for key in kept] == [str]
    assert kept["a"] == kept[Name("a")] == 1
    kept["sur\udc80rogate"] = 2
    assert kept["sur\udc80rogate"] == 2


def test_the_methods_of_a_dict(kept, reopened):
    kept |= {"a": 1, "b": 2}
    kept.update([("c", 3)], d=4)
    assert kept.setdefault("a", 9) == 1
    assert kept.setdefault("e", [5]) == [5]
    assert kept.pop("e") == [5]
    assert kept.pop("e", None) is None
    with pytest.raises(KeyError):
        kept.pop("e")
    with pytest.raises(KeyError):
        del kept["e"]
    assert kept.popitem() == ("d", 4)
    assert list(kept) == list(kept.keys()) == list("abc")
    assert list(reversed(kept)) == list("cba")
    assert list(kept.items()) == [("a", 1), ("b", 2), ("c", 3)]
    assert kept == {"a": 1, "b": 2, "c": 3} == reopened()
    assert kept | {"x": 1} == {"a": 1, "b": 2, "c": 3, "x": 1}
    assert {"x": 1} | kept == {"x": 1, "a": 1, "b": 2, "c": 3}
    assert repr(kept).endswith("3 keys>")
    assert "a" in kept
    kept.clear()
    assert not kept
    assert reopened() == {}
    with pytest.raises(KeyError):
        kept.popitem()
    with pytest.raises(TypeError):
        hash(kept)
    with pytest.raises(TypeError):
        kept[[]]


def test_increment_and_add(kept, reopened):
    assert kept.increment("n") == 1
    assert kept.increment("n", 5) == 6
    assert kept.increment("n", -0.5) == 5.5
    assert kept.add("a", [1])
    assert not kept.add("a", 2)
    kept["text"] = "x"
    for bad in (lambda: kept.increment("text"), lambda: kept.increment("n", "x")):
        with pytest.raises(TypeError, match="not a number"):
            bad()
    assert reopened() == {"n": 5.5, "a": [1], "text": "x"}


def test_an_iteration_goes_over_what_there_was(kept):
    kept.update({"a": 1, "b": LARGE, "c": 3})
    pairs = iter(kept.items())
    keys = iter(kept)
    assert (next(pairs), next(keys)) == (("a", 1), "a")
    del kept["b"]
    kept["d"] = 4
    assert list(pairs) == [("b", LARGE), ("c", 3)]
    assert list(keys) == ["b", "c"]


def test_a_large_value_that_was_replaced_and_packed_away_is_looked_up_again(path, kept):
    kept.update({"a": 1, "b": LARGE, "c": LARGE})
    with safe.open(path, pack_when=None) as other:  # It has not read the values yet.
        pairs = iter(other.items())
        assert next(pairs) == ("a", 1)
        kept["b"] = "new" + LARGE
        del kept["c"]
        assert kept.pack().packed
        assert len(other) == 2
        assert list(pairs) == [("b", "new" + LARGE)]


def test_the_transactions_of_the_program_are_others(kept, path):
    with Database(path.with_name("other.log")) as database:
        database.set_root(PersistentDict())
        kept["a"] = 1
        transaction.abort()
        assert kept["a"] == 1
        assert database.root is None


# -- several together --------------------------------------------------------------------


def test_the_blocks_of_tasks_are_others(kept, reopened, tmp_path):
    async def main(database, fails):
        async with database.transaction() as root:
            checkout(root)
            root["n"] = 1
            kept["n"] = kept.setdefault("first", 0) + 1
            assert kept.add("root", root)
            assert reopened()["n"] == 1
            with kept.transaction():
                kept["n"] = kept.increment("m") + 1
                assert (kept["n"], len(kept), list(kept)) == (2, 4, ["first", "n", "root", "m"])
                with contextlib.suppress(KeyError), kept.transaction():
                    kept["n"] = 3
                    raise KeyError
                root["in"] = kept["n"]
                assert "m" not in reopened()
            assert reopened()["n"] == 2
            with safe.open(tmp_path / "new.safe") as new:
                new["n"] = 1
            if fails:
                raise ZeroDivisionError

    with Database(tmp_path / "other.log") as database:
        with database.transaction():
            database.set_root(PersistentDict())
        with pytest.raises(ZeroDivisionError):
            asyncio.run(main(database, fails=True))
        assert dict(kept["root"]) == {"n": 1}
        assert (kept["n"], kept["m"], dict(database.root)) == (2, 1, {})
        kept.clear()
        asyncio.run(main(database, fails=False))
        assert dict(database.root) == {"n": 1, "in": 2}
    with safe.open(tmp_path / "new.safe") as new:
        assert dict(new) == {"n": 1}


def test_a_task_that_waits_in_a_block_keeps_other_tasks_of_its_thread_out(
    kept: safe.Safe, reopened: Callable[..., dict[Any, Any]]
) -> None:
    """They took part in its block: each lost what the others had counted."""
    uses: list[Callable[[], object]] = [
        lambda: kept["n"],
        lambda: kept.get("other"),
        lambda: list(kept),
        lambda: list(kept.values()),
        lambda: len(kept),
        lambda: kept.increment("n"),
        lambda: kept.pop("n"),
        lambda: kept.update(other=1),
        lambda: kept.transaction().__enter__(),
        kept.sync,
    ]
    kept["n"] = 0

    async def count() -> None:
        with kept.transaction():
            kept["n"] += 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            kept["n"] += 1

    async def use(use: Callable[[], object]) -> None:
        with pytest.raises(BlockError, match="another task"):
            use()
        assert "another task" in repr(kept)

    async def main() -> None:
        await asyncio.gather(count(), *map(use, uses))
        assert kept["n"] == 2
        failed = await asyncio.gather(count(), count(), count(), return_exceptions=True)
        assert [type(error) for error in failed] == [type(None), BlockError, BlockError]
        assert kept["n"] == 4
        with pytest.raises(TypeError, match="to_thread"):
            async with kept.transaction():
                pass

    asyncio.run(main())
    assert reopened() == {"n": 4}


def test_a_block_around_a_loop_is_that_of_all_its_tasks(
    kept: safe.Safe, reopened: Callable[..., dict[Any, Any]]
) -> None:
    async def store(key: str) -> None:
        await asyncio.sleep(0)
        with kept.transaction():
            kept[key] = 1

    async def main() -> None:
        await asyncio.gather(store("a"), store("b"))

    with kept.transaction():
        asyncio.run(main())
        assert reopened() == {}
    assert reopened() == {"a": 1, "b": 1}


def test_a_transaction_is_stored_at_its_end_for_all_others(kept, reopened):
    kept["a"] = 1
    with kept.transaction():
        kept["a"] += 1
        kept["b"] = [1]
        kept["b"].append(2)
        assert (kept["a"], kept["b"], len(kept), list(kept)) == (2, [1], 2, ["a", "b"])
        assert reopened() == {"a": 1}
        assert in_thread(dict, kept) == {"a": 1}
    assert reopened() == dict(kept) == {"a": 2, "b": [1]}


def test_a_value_is_stored_as_it_was_when_it_was_assigned(kept):
    with kept.transaction():
        value = [1]
        kept["a"] = value
        value.append(2)
        assert kept["a"] == [1]
    assert kept["a"] == [1]


def test_an_exception_takes_all_back(kept, reopened):
    kept.update({"a": 1, "b": LARGE})

    def fail() -> None:
        with kept.transaction():
            kept.clear()
            kept["a"] = kept.increment("n") // 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert dict(kept) == reopened() == {"a": 1, "b": LARGE}
    kept["c"] = 1
    assert reopened()["c"] == 1


def test_an_inner_transaction_is_part_of_the_outer_one(kept, reopened):
    kept["a"] = 1

    def fail() -> None:
        with kept.transaction():
            kept["c"] = LARGE
            del kept["a"]
            kept["c"] = 1 // 0

    with kept.transaction():
        kept["a"] = 2
        with kept.transaction():
            kept["b"] = LARGE
        with pytest.raises(ZeroDivisionError), kept.transaction():
            kept["b"] = kept["a"] // 0
        with pytest.raises(ZeroDivisionError):
            fail()
        assert dict(kept) == {"a": 2, "b": LARGE}
        assert reopened() == {"a": 1}
    assert reopened() == {"a": 2, "b": LARGE}


def test_an_error_inside_a_transaction_that_is_caught_leaves_the_rest(kept, reopened):
    with kept.transaction():
        kept["a"] = 1
        with pytest.raises(NotStorableError):
            kept.update({"b": 1, "c": threading.Lock()})
        with pytest.raises(TypeError):
            kept.update({"b": 1, None: 2})
    assert reopened() == {"a": 1}


def test_others_wait_until_a_transaction_has_ended(kept):
    steps = Steps()
    kept["n"] = 0
    began = threading.Event()

    @steps.thread
    def increments():
        assert began.wait(30)
        for _ in range(10):
            kept.increment("n")

    with kept.transaction():
        began.set()
        for _ in range(10):
            kept["n"] = kept["n"] + 1
            assert in_thread(kept.get, "n") == 0
    steps.join()
    assert kept["n"] == 20


def test_waiting_ends_when_a_timeout_says_so(path):
    with safe.open(path, timeout=0.01) as kept, kept.transaction():
        with pytest.raises(LockTimeout):
            in_thread(kept.increment, "n")
        assert in_thread(kept.get, "n") is None
        kept["n"] = 1
    with safe.open(path) as kept:
        assert dict(kept) == {"n": 1}


def test_two_safes_on_one_file_in_one_thread_are_told(kept, path):
    with safe.open(path) as other:
        with kept.transaction():
            kept["a"] = 1
            with pytest.raises(SelfWaitError):
                other["a"] = 2
        other["b"] = 1
        assert dict(kept) == {"a": 1, "b": 1}


def test_what_changed_nothing_writes_nothing(kept, path):
    kept["a"] = 1
    size = path.stat().st_size
    with kept.transaction():
        assert kept["a"] == 1
    kept.update({})
    kept.sync()
    assert not kept.add("a", 2)
    assert path.stat().st_size == size


def test_closed_in_a_transaction_nothing_of_it_is_stored(path):
    kept = safe.open(path)

    def change() -> None:
        with kept.transaction():
            kept["a"] = 1
            kept.close()

    with pytest.raises(ClosedError), pytest.warns(UncommittedChangesWarning):
        change()
    with safe.open(path) as again:
        assert dict(again) == {}


def in_a_block(kept: safe.Safe) -> None:
    with kept.transaction():
        kept["a"] = kept.get("a", 0) + 1
        kept.increment("n")
        assert len(list(kept.items())) == len(kept)
        with kept.transaction():
            kept.setdefault("b", 1)


@pytest.mark.parametrize(
    "act",
    [
        lambda kept: kept.increment("n"),
        lambda kept: kept.update(a=1, b=[2]),
        lambda kept: kept.pop("a", None),
        lambda kept: dict(kept.items()),
        in_a_block,
    ],
    ids=["increment", "update", "pop", "read", "block"],
)
def test_what_a_signal_handler_stores_is_stored_or_refused(kept, path, act):
    handled = 0

    def handler() -> None:
        nonlocal handled
        try:
            kept.increment("handled")
        except SelfWaitError:
            return
        handled += 1

    with safe.open(path, pack_when=None) as other:
        for step in each_step():
            other["foreign"] = step
            before = other.get("n", 0)
            if not handled_at_step(step * 7, lambda: act(kept), handler):
                break
            assert other.get("handled", 0) == handled
            assert other.get("n", 0) - before in (0, 1)
            assert dict(kept) == dict(other)
        assert other.get("n", 0) in (0, step + 1)
    assert step > 5
    kept["last"] = 1


def test_what_a_handler_stores_between_two_lines_of_a_block_is_part_of_it(kept, reopened):
    with kept.transaction():
        kept["a"] = 1
        kept["handled"] = True  # As a function that is called here.
        kept.update((key, kept.increment("n")) for key in "bc")
    assert reopened() == {"a": 1, "handled": True, "b": 1, "c": 2, "n": 2}


# -- as shelve -----------------------------------------------------------------------------


def test_the_flags(path):
    for flag in "rw":
        with pytest.raises(FileNotFoundError):
            safe.open(path, flag)
    assert not path.exists()
    with pytest.raises(ValueError, match="flag='x'"):
        safe.open(path, "x")
    with safe.open(path, "n") as kept:
        kept["a"] = 1
    with safe.open(os.fsencode(path), "w") as kept, safe.open(str(path), "r") as reader:
        kept["a"] += 1
        assert reader["a"] == 2
        for write in (
            lambda: reader.update(a=3),
            lambda: reader.pop("a"),
            lambda: reader.increment("a"),
            lambda: reader.transaction().__enter__(),
        ):
            with pytest.raises(ReadOnlyStorageError):
                write()
        reader.sync()
        with safe.open(path, "n") as new:
            assert dict(new) == {}
        assert dict(reader) == dict(kept) == {}


def test_a_file_of_something_else_is_never_overwritten(path):
    path.write_bytes(b"something else" * 1000)
    for flag in "rwcn":
        with pytest.raises(NotALogError):
            safe.open(path, flag)
    path.unlink()
    with Database(path) as database:
        database.set_root(PersistentDict(a=1))
        transaction.commit()
    for flag in "rwcn":
        with pytest.raises(NotASafeError, match="PersistentDict"):
            safe.open(path, flag)
    with Database(path) as database:
        assert database.root["a"] == 1
        transaction.abort()


def test_a_file_in_which_nothing_is_yet_can_be_read(path):
    path.touch()
    with safe.open(path, "r") as reader:
        assert dict(reader) == {}
        with safe.open(path) as kept:
            kept["a"] = 1
        assert dict(reader) == {"a": 1}


def test_a_block_is_for_one_with_of_one_thread(path):
    kept = safe.open(path)
    again = r"entered before; call transaction\(\) for each with statement"
    for block in kept.transaction(), kept.transaction():
        with block:
            kept["n"] = kept.get("n", 0) + 1
            with pytest.raises(BlockError, match=again), block:
                raise AssertionError
        with pytest.raises(BlockError, match=again), block:
            raise AssertionError
    assert kept["n"] == 2
    block = kept.transaction()
    with pytest.raises(BlockError, match="was not entered"):
        block.__exit__(None, None, None)
    with block:
        kept["n"] = 3
        with pytest.raises(BlockError, match="another thread"):
            in_thread(lambda: block.__exit__(None, None, None))
    with safe.open(path) as other:
        assert other["n"] == 3
        other["n"] = 4  # The lock was given back.
    kept.close()


def test_a_block_belongs_to_the_transaction_in_which_it_is_entered(path):
    kept = safe.open(path)
    outside = kept.transaction()
    with kept.transaction():
        kept["a"] = 1
        inside = kept.transaction()
        with pytest.raises(ZeroDivisionError), outside:
            kept["a"] = 2 / 0
    with inside:
        kept["b"] = 1
    with safe.open(path) as other:
        assert dict(other) == {"a": 1, "b": 1}
    kept.close()


def test_a_closed_one_refuses_as_shelve_does(path):
    kept = safe.open(path, writeback=True)
    kept["a"] = 1
    kept.close()
    kept.close()
    assert kept.closed
    for use in (
        lambda: kept["a"],
        lambda: len(kept),
        lambda: list(kept),
        lambda: list(kept.items()),
        lambda: "a" in kept,
        lambda: kept.get("a"),
        lambda: kept.update(a=1),
        kept.update,
        lambda: kept.increment("a"),
        kept.clear,
        kept.sync,
        kept.pack,
        kept.__enter__,
        kept.transaction().__enter__,
    ):
        with pytest.raises(ValueError, match="is closed"):
            use()
    assert "closed" in repr(kept)


def test_one_that_nobody_holds_is_closed(path):
    kept = safe.open(path, writeback=True)
    kept["a"] = [1]
    kept["a"].append(2)
    storage = kept._database.storage
    del kept
    gc.collect()
    assert storage.closed
    with safe.open(path) as kept:
        assert kept["a"] == [1, 2]


def test_with_writeback_what_was_changed_is_stored_by_sync_and_close(path, reopened):
    with safe.open(path, writeback=True) as kept:
        kept.update({"a": [1], "b": [1], "c": [1]})
        kept["a"].append(2)
        assert kept["a"] == next(iter(kept.values())) == [1, 2]
        assert reopened()["a"] == [1]
        written = path.read_bytes().rstrip(b"\0")
        kept["b"]  # It is kept now, and not changed.
        kept.sync()
        assert reopened() == {"a": [1, 2], "b": [1], "c": [1]}
        assert len(path.read_bytes().rstrip(b"\0")) > len(written)
        written = path.read_bytes()
        kept.sync()
        assert path.read_bytes() == written
        kept["b"].append(2)
        kept.pop("b")
        kept["c"].append(LARGE)
    assert reopened() == {"a": [1, 2], "c": [1, LARGE]}


def test_with_writeback_what_others_changed_stays_unless_it_was_changed_here(path, kept):
    kept.update({"a": [1], "b": [1]})
    with safe.open(path, writeback=True) as other:
        assert (other["a"], other["b"]) == ([1], [1])
        other["b"].append(2)
        kept.update({"a": [3], "b": [3]})
        del kept["a"]
        assert "a" not in other
        with pytest.raises(KeyError):
            other["a"]
    assert dict(kept) == {"b": [1, 2]}


def test_with_writeback_an_exception_takes_back_what_was_changed_in_a_value(path, reopened):
    """It was stored by the next sync()."""
    with safe.open(path, writeback=True) as kept:
        kept.update(before=[1], read=[1], both=[1], inner=[1])
        kept.sync()
        kept["before"].append(2)
        kept["both"].append(2)
        with contextlib.suppress(KeyError), kept.transaction():
            kept["read"].append(3)
            kept["both"].append(3)
            raise KeyError
        assert kept["read"] == [1]
        with kept.transaction():
            with contextlib.suppress(KeyError), kept.transaction():
                kept["inner"].append(3)
                raise KeyError
            assert kept["inner"] == [1]
            kept["inner"].append(4)
    # What was changed before as well is not taken apart.
    assert dict(reopened()) == {"before": [1, 2], "read": [1], "both": [1, 2, 3], "inner": [1, 4]}


def test_with_writeback_an_exception_takes_back_what_was_assigned(path):
    with safe.open(path, writeback=True) as kept:
        kept["a"] = [1]

        def fail() -> None:
            with kept.transaction():
                kept["a"] = [2]
                kept["b"] = [2]
                del kept["a"]
                kept["c"] = 1 // 0

        with pytest.raises(ZeroDivisionError):
            fail()
        assert dict(kept) == {"a": [1]}
    with safe.open(path) as kept:
        assert dict(kept) == {"a": [1]}


# -- threads and processes -------------------------------------------------------------------


def test_threads_share_one(kept):
    steps = Steps()
    winners = []

    def work(number: int) -> None:
        for n in range(10):
            kept.increment("n")
            kept[f"{number}-{n}"] = [number]
            if kept.add(f"once {n}", number):
                winners.append(n)
            with kept.transaction():
                kept["m"] = kept.get("m", 0) + 1
            assert kept[f"{number}-{n}"] == [number]

    for number in range(4):
        steps.thread(lambda number=number: work(number))
    steps.join()
    assert (kept["n"], kept["m"], len(kept)) == (40, 40, 2 + 40 + 10)
    assert sorted(winners) == list(range(10))


def test_an_item_is_popped_by_one(kept):
    kept.update({str(n): n for n in range(40)})
    steps = Steps()
    got: list[int] = []

    def pop() -> None:
        for n in range(40):
            found = kept.pop(str(n), None)
            if found is not None:
                got.append(found)

    for _ in range(3):
        steps.thread(pop)
    steps.join()
    assert sorted(got) == list(range(40))


WORKER = """
import sys
from dobbin_like import safe
number, path = sys.argv[1:]
with safe.open(path) as kept:
    sys.stdin.readline()
    for n in range(30):
        kept.increment("n")
        kept[f"{number}-{n}"] = [n]
        with kept.transaction():
            kept["m"] = kept.get("m", 0) + 1
            kept["log"] = [*kept.get("log", []), number]
        assert kept[f"{number}-{n}"] == [n]
"""


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    return start(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=python_path(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_processes_share_one_from_its_creation(path):
    workers = [python(WORKER, number, path) for number in range(3)]
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    with safe.open(path, "r") as kept:
        assert (kept["n"], kept["m"], len(kept)) == (90, 90, 93)
        assert sorted(kept["log"]) == sorted("012" * 30)
    check_log(path).raise_if_bad()


KILLED = """
import sys
from dobbin_like import safe
kept = safe.open(sys.argv[1])
n = len(kept)
while True:
    kept[str(n)] = n
    print(n, flush=True)
    n += 1
    with kept.transaction():
        kept[str(n)] = n
        kept["half"] = n
        del kept["half"]
    print(n, flush=True)
    n += 1
"""


@pytest.mark.slow
def test_what_has_returned_is_there_after_kill_9(path):
    for count in (1, 4, 11, 20):
        child = python(KILLED, path)
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(count)]
        os.kill(child.pid, signal.SIGKILL)
        told += map(int, child.stdout)  # communicate() leaves out what readline() has read ahead.
        child.communicate()
        with safe.open(path) as kept:
            assert set(told) <= set(kept.values())
            # The one it was at, perhaps, and never half of a transaction.
            assert list(kept.values()) == list(range(len(kept)))
            assert told[-1] + 1 <= len(kept) <= told[-1] + 2
        check_log(path).raise_if_bad()


@pytest.mark.slow
def test_what_is_open_at_the_end_of_a_program_is_closed(path):
    child = python(LEFT_OPEN, path)
    told, errors = child.communicate(timeout=60)
    assert (child.returncode, told, errors) == (0, "", "")
    with safe.open(path) as kept:
        assert dict(kept) == {"a": [1, 2], "b": 1}


LEFT_OPEN = """
import sys, threading
from dobbin_like import safe
kept = safe.open(sys.argv[1], writeback=True)
kept["a"] = [1]
kept["a"].append(2)
threading.Thread(target=kept.increment, args=["b"]).start()
"""


def test_a_forked_child_does_not_write_back_what_is_the_parents(path):
    with safe.open(path, writeback=True) as kept:
        kept["a"] = [1]
        kept["a"].append(2)

        def child() -> None:
            assert kept["a"] == [1]
            kept.close()

        assert os.waitpid(forked(child), 0)[1] == 0
        with safe.open(path, "r") as other:
            assert other["a"] == [1]
    with safe.open(path, "r") as other:
        assert other["a"] == [1, 2]


def test_a_forked_child_shares_it(kept):
    kept["n"] = 1

    def child() -> None:
        assert kept.increment("n") == 2
        kept["child"] = LARGE

    assert os.waitpid(forked(child), 0)[1] == 0
    assert dict(kept) == {"n": 2, "child": LARGE}
    assert kept.increment("n") == 3


def test_a_child_that_is_forked_in_a_transaction_is_not_in_it(path, reopened):
    kept = safe.open(path, pack_when=None, timeout=0.05)
    kept["a"] = 1

    def child() -> None:
        # It is the parent who has the lock, and who keeps it whatever is tried here.
        for _ in range(2):
            assert dict(kept) == {"a": 1}
            with pytest.raises(LockTimeout):
                kept["a"] = 3
        with safe.open(path, timeout=0.05) as other, pytest.raises(LockTimeout):
            other["a"] = 3

    with kept.transaction():
        kept["a"] = 2
        assert os.waitpid(forked(child), 0)[1] == 0
        kept["b"] = 2
    assert reopened() == {"a": 2, "b": 2}
    kept.close()
    check_log(path).raise_if_bad()


def test_a_child_that_comes_to_the_end_of_the_block_stores_nothing_there(kept, reopened):
    kept["a"] = 1
    pid = 1
    try:
        with kept.transaction():
            kept["a"] = 2
            pid = os.fork()
        if not pid:
            # Waits for the parent, which is in the block still, or has left it.
            kept["child"] = 1
            os._exit(0)
    finally:
        if not pid:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert reopened() == {"a": 2, "child": 1}


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_an_interrupt_leaves_all_or_nothing_and_no_lock(kept, reopened, grouped):
    kept.update({"n": 0, "m": 0})

    def change() -> None:
        if not grouped:
            kept.update({"n": number, "m": number})
            return
        with kept.transaction():
            kept["n"] = number
            kept["m"] = number

    before = 0
    for number in range(1, 4000, 11):
        went_on = interrupted(change, number)
        found = reopened()
        assert found["n"] == found["m"]
        assert found["n"] in (before, number)
        assert kept._groups.current is None
        assert not kept._database.storage.held
        before = found["n"]
        if not went_on:
            break
    else:
        raise AssertionError("it never came to its end")
    assert in_thread(kept.increment, "n") == number + 1


def test_an_interrupt_while_a_block_is_taken_back_leaves_nothing_of_it(kept):
    kept.update({"n": 0, "steps": 0})

    def change() -> None:
        with contextlib.suppress(ZeroDivisionError), kept.transaction():
            kept["n"] = 1
            kept["n"] = 1 / 0

    for step in each_step():
        came = interrupted_at_step(step, change)
        assert kept["n"] == 0
        assert kept._groups.current is None
        assert not kept._database.storage.held
        with kept.transaction():
            kept["steps"] = step
        assert kept["steps"] == step
        if not came:
            break


@pytest.mark.parametrize("writeback", [False, True])
def test_functions_that_were_registered_for_the_end_before_may_store(path, writeback):
    code = [
        "import atexit, sys",
        "atexit.register(lambda: kept.update(last='state'))",
        "from dobbin_like import safe",
        f"kept = safe.open(sys.argv[1], writeback={writeback})",
        "kept.setdefault('items', []).append(1)",
    ]
    child = start([sys.executable, "-c", "\n".join(code), path], env=python_path())
    assert child.wait() == 0
    with safe.open(path, "r") as kept:
        assert dict(kept) == {"items": [1] if writeback else [], "last": "state"}
    check_log(path).raise_if_bad()


def test_a_safe_that_is_left_when_the_interpreter_ends_is_left_alone(path):
    # It was finished before. There, a thread can't be started any more, and names may be gone.
    code = [
        "import atexit, subprocess, sys",
        "pack = 'import sys; from dobbin_like import Database; Database(sys.argv[1]).pack()'",
        "command = [sys.executable, '-c', pack, sys.argv[1]]",
        "atexit.register(lambda: subprocess.run(command, check=True))",
        "from dobbin_like import safe",
        "kept = safe.open(sys.argv[1], pack_when=None)",
        "for n in range(100): kept['n'] = n",
    ]
    done = run(
        [sys.executable, "-c", "\n".join(code), path],
        env=python_path(),
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    with safe.open(path, "r") as kept:
        assert dict(kept) == {"n": 99}


# -- growing --------------------------------------------------------------------------------


def test_what_is_written_ahead_is_not_taken_for_growth(path):
    with safe.open(path) as kept:
        kept["a"] = 1

        assert path.stat().st_size > 1 << 16
        assert kept._growth._thread is None


def test_a_child_that_no_hook_has_seen_does_not_wait_for_a_pack_of_its_parent(path, monkeypatch):
    end = threading.Event()
    with safe.open(path) as kept:
        monkeypatch.setattr(kept._growth._packing, "look", end.wait)
        kept["a"] = "x" * 200_000
        try:
            assert kept._growth._thread.is_alive()
            assert forked_in_c(kept.close) == 0
        finally:
            end.set()
    check_log(path).raise_if_bad()


def test_the_file_does_not_grow_for_ever(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for turn in range(30):
            with safe.open(path) as kept:
                for n in range(10):
                    kept["a"] = f"{turn} {n} " + "x" * 10_000
    assert path.stat().st_size < 300_000  # 3 MB were written.
    with safe.open(path) as kept:
        assert kept["a"].startswith("29 9 ")
    check_log(path).raise_if_bad()


def test_a_pack_gives_room_back_while_others_go_on(kept, path):
    kept["keep"] = LARGE
    with safe.open(path, pack_when=None) as other:
        for n in range(20):
            kept["a"] = f"{n}" * 5000
        size = path.stat().st_size
        assert kept.pack().packed
        assert path.stat().st_size < size / 5
        assert dict(other) == dict(kept) == {"keep": LARGE, "a": "19" * 5000}
        other["b"] = 1
        assert kept["b"] == 1


# -- a safe for each module -------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(opening, "_directory", [])
    monkeypatch.setattr(opening, "_safes", {})
    yield tmp_path / "safes"
    for opened in opening._safes.values():
        opened.close()


def module(name: str, **more: Any) -> Any:
    made = types.ModuleType(name)
    vars(made).update(more)
    source = "from dobbin_like import safe\ndef mine(): return safe.module_safe()\n"
    exec(compile(source, name, "exec"), vars(made))
    return made


def test_modules_do_not_see_each_others_keys(directory):
    safe.set_directory(directory)
    names = ["shop.cart", "shop.Cart", "shop", "Shop", "shop/../cart", "caf\xe9", "a" * 100]
    for name in names:
        module(name).mine()["name"] = name
    for name in names:
        assert dict(module(name).mine()) == {"name": name}
    assert sorted(file.name for file in directory.iterdir())[:2] == [
        "%53hop.safe",
        "a" * 100 + ".safe",
    ]
    assert safe.module_safe() is safe.module_safe()
    assert dict(safe.module_safe()) == {}


def test_one_that_was_closed_is_opened_again(directory):
    safe.set_directory(directory)
    safe.module_safe()["a"] = 1
    safe.module_safe().close()
    assert dict(safe.module_safe()) == {"a": 1}


def test_one_whose_file_was_deleted_says_so_once_and_begins_anew(directory, caplog):
    safe.set_directory(directory)
    safe.module_safe()["a"] = 1
    before = safe.module_safe()
    for lost in (lambda: Path(before.path).unlink(), lambda: shutil.rmtree(directory)):
        lost()
        with pytest.raises(LogMovedError):
            safe.module_safe()["a"] = 2
        safe.module_safe()["b"] = 3
        assert dict(safe.module_safe()) == {"b": 3}
        assert "deleted or replaced" in caplog.text
    with safe.open(before.path, "r") as stored:
        assert dict(stored) == {"b": 3}
    with pytest.raises(LogMovedError, match="open the database again"):
        before["a"] = 2


def test_a_module_that_is_run_is_that_module(directory):
    safe.set_directory(directory)
    spec = types.SimpleNamespace(name="shop.cart")
    assert module("__main__", __spec__=spec).mine() is module("shop.cart").mine()
    assert module("__main__").mine() is not module("shop.cart").mine()


def test_the_directory_is_set_once(directory, monkeypatch):
    with pytest.raises(SafeDirectoryError, match="set_directory"):
        safe.module_safe()
    monkeypatch.chdir(directory.parent)
    safe.set_directory("safes")
    safe.set_directory(directory)
    with pytest.raises(SafeDirectoryError, match="already"):
        safe.set_directory(directory / "other")
    assert safe.module_safe().path.startswith(str(directory))


def test_threads_of_a_module_get_the_same(directory):
    safe.set_directory(directory)
    steps = Steps()
    mine = module("shop").mine
    found: list[safe.Safe] = []

    def work() -> None:
        found.append(mine())
        found[-1].increment("n")

    for _ in range(8):
        steps.thread(work)
    steps.join()
    assert len(set(map(id, found))) == 1
    assert found[0]["n"] == 8


# -- an interrupt just before the first line of the end of a block ---------------------------


def test_who_handles_an_interrupt_of_a_block_stores_what_he_writes(tmp_path):
    """It was acknowledged, and went with the block."""
    with safe.open(tmp_path / "safe") as kept:
        try:
            with interrupting(SafeBlock.__exit__), kept.transaction():
                kept["n"] = 1
        except KeyboardInterrupt:
            kept["m"] = 2
            assert "n" not in kept
            with kept.transaction():
                kept["o"] = 3
        assert in_thread(lambda: dict(kept)) == {"m": 2, "o": 3}
    with safe.open(tmp_path / "safe", "r") as again:
        assert dict(again) == {"m": 2, "o": 3}


def test_who_handles_an_interrupt_of_an_inner_block_goes_on_in_the_outer_one(tmp_path):
    with safe.open(tmp_path / "safe") as kept:
        with kept.transaction():
            kept["outer"] = 1
            try:
                with interrupting(SafeBlock.__exit__), kept.transaction():
                    kept["n"] = 1
            except KeyboardInterrupt:
                kept["m"] = 2
        assert dict(kept) == {"outer": 1, "m": 2}


def test_what_an_interrupt_has_left_of_a_block_is_gone(tmp_path):
    with safe.open(tmp_path / "safe") as kept:
        with (
            contextlib.suppress(KeyboardInterrupt),
            interrupting(SafeBlock.__exit__),
            kept.transaction(),
        ):
            kept["n"] = 1
        in_thread(lambda: kept.update(m=2))
        kept["o"] = 3
        assert dict(kept) == {"m": 2, "o": 3}
