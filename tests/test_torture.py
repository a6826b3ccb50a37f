"""A database whose log was cut off or damaged: its content is there, or an error says why.

The log is small and made anew for each test: a handful of transactions, with a failed one,
a stream, a reference from one object to another and a change of each. ``content`` reads all
of it through a fresh database, as a plain structure that can be compared.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import Error, IntegrityError
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentStream,
    checkout,
)
from dobbin_like.storage import TransactionLog
from tests.helpers.amount import step
from tests.helpers.log_files import NOTHING_DURABLE, with_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


class Page(Persistent):
    def __init__(self, number):
        self.number = number
        self.words = ["one", "two"]


class Book(PersistentDict):
    pass


@dataclass
class Made:
    """A log, and what it was after each of its successful transactions."""

    path: Path
    bytes: bytes = b""
    ends: list[int] = field(default_factory=list)
    pages: list[bytes] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)


def content(database: Database) -> Any:
    """Read everything; streams as their bytes, failed transactions by their number."""
    transaction.begin()
    root = database.root
    if root is None:
        return None
    return {
        key: (page.number, list(page.words))
        if isinstance(page, Page)
        else b"".join(page)
        if isinstance(page, PersistentStream)
        else page
        for key, page in root.items()
    }


def content_at(path: Path) -> Any:
    try:
        with Database(TransactionLog(path, sync=False)) as database:
            return content(database)
    finally:
        transaction.abort()
        transaction.manager.clearSynchs()


def set_key(database: Database, key: str, value: Any) -> None:
    # What the commit finds whole behind the committed end is a conflict with this one.
    for attempt in transaction.manager.attempts(2):
        with attempt:
            checkout(database.root)
            database.root[key] = value


@pytest.fixture
def made(path: Path) -> Made:
    made = Made(path)

    def note() -> None:
        data = path.read_bytes()
        made.ends.append(len(data))
        made.pages.append(data[:PAGE_SIZE])
        made.contents.append(content(database))

    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(Book())
        transaction.commit()
        note()
        set_key(database, "first", Page(1))
        note()
        set_key(database, "file", PersistentFile(io.BytesIO(bytes(range(256)) * 2)))
        note()
        first = database.root["first"]
        checkout(first)
        first.number = lambda: 0
        with pytest.raises(Error):
            transaction.commit()
        transaction.abort()
        checkout(first)
        first.words.append("three")
        transaction.get().note("words")
        transaction.commit()
        note()
        set_key(database, "second", Page(2))
        note()
    transaction.manager.clearSynchs()
    made.bytes = path.read_bytes()
    assert made.ends[-1] == len(made.bytes)
    return made


def whole(made: Made, size: int) -> int:
    """Return the index of the last content that is wholly in *size* bytes."""
    return max(index for index, end in enumerate(made.ends) if end <= size)


# -- cut at every byte of the last two transactions -----------------------------


def sizes(made: Made, first: int, last: int, step: int) -> list[int]:
    """Return sizes between two ends: every so many bytes, and those near to any end."""
    ends = [end for end in made.ends if made.ends[first] <= end <= made.ends[last]]
    near = {end + more for end in ends for more in (-8, -1, 0, 1, 8, 47, 48, 52)}
    between = range(made.ends[first], made.ends[last] + 1)
    return sorted({*between[::step], *near} & set(between))


def test_a_torn_tail_is_never_seen_and_the_next_commit_goes_on(made):
    page = made.pages[-3]  # As it was when the writer of the last two died.

    for size in sizes(made, -3, -1, step(7)):
        made.path.write_bytes(page + made.bytes[PAGE_SIZE:size])
        # What is whole is adopted: it may have been acknowledged by nobody, and hurts nobody.
        assert content_at(made.path) == made.contents[whole(made, size)], size
        check_log(made.path).raise_if_bad()

        with Database(TransactionLog(made.path, sync=False)) as database:
            set_key(database, "next", size)
            after = content(database)

        transaction.manager.clearSynchs()
        assert after == {**made.contents[whole(made, size)], "next": size}, size
        assert content_at(made.path) == after
        check_log(made.path).raise_if_bad()


def test_a_torn_stream_is_never_seen_and_the_next_commit_goes_on(made):
    page = made.pages[1]  # The third transaction has stored a stream before its record.

    for size in sizes(made, 1, 2, step(11)):
        made.path.write_bytes(page + made.bytes[PAGE_SIZE:size])
        assert content_at(made.path) == made.contents[whole(made, size)], size

        with Database(TransactionLog(made.path, sync=False)) as database:
            set_key(database, "next", size)

        transaction.manager.clearSynchs()
        assert content_at(made.path) == {**made.contents[whole(made, size)], "next": size}, size
        check_log(made.path).raise_if_bad()


def test_after_a_power_cut_what_is_whole_is_there(made):
    page = with_words(made.pages[-1], DURABLE=made.ends[-3])

    for size in sizes(made, -3, -1, step(5)):
        made.path.write_bytes(page + made.bytes[PAGE_SIZE:size])
        expected = made.contents[whole(made, size)]
        assert content_at(made.path) == expected, size
        check_log(made.path).raise_if_bad()

        with Database(TransactionLog(made.path, sync=False)) as database:
            set_key(database, "next", size)

        transaction.manager.clearSynchs()
        assert content_at(made.path) == {**expected, "next": size}, size
        check_log(made.path).raise_if_bad()


def test_after_a_power_cut_what_reached_the_disk_as_zeros_is_not_there(made):
    page = with_words(made.pages[-1], DURABLE=made.ends[-3])

    for size in range(made.ends[-3], made.ends[-1], 8):
        lost = bytes(len(made.bytes) - size)
        made.path.write_bytes(page + made.bytes[PAGE_SIZE:size] + lost)
        found = content_at(made.path)

        assert found in (made.contents[whole(made, size)], made.contents[whole(made, size + 8)])
        check_log(made.path).raise_if_bad()


def test_committed_bytes_that_are_missing_are_an_error_and_nothing_is_cut(made):
    for size in range(made.ends[-3], made.ends[-1]):
        made.path.write_bytes(made.bytes[:size])

        with pytest.raises(IntegrityError):
            content_at(made.path)

        assert made.path.read_bytes() == made.bytes[:size]
        assert not check_log(made.path).ok


# -- damaged bits ---------------------------------------------------------------


def outcome(made: Made) -> str:
    """Say what reading everything gives: the content, another one, or an error of ours."""
    try:
        found = content_at(made.path)
    except Error as error:
        str(error)
        return "error"
    return "same" if found == made.contents[-1] else f"{found}"


def damage(made: Made, change: Callable[[bytearray], object]) -> None:
    data = bytearray(made.bytes)
    change(data)
    made.path.write_bytes(data)


def test_a_flipped_bit_is_an_error_or_changes_nothing(made):
    chance = random.Random(1)
    # The bytes between the words of the header page mean nothing.
    places = [*range(72), *range(72, 400, 5), *range(PAGE_SIZE, len(made.bytes), step(3))]

    wrong = {}
    for place in places:
        bit = 1 << chance.randrange(8)
        damage(made, lambda data, place=place, bit=bit: data.__setitem__(place, data[place] ^ bit))
        found = outcome(made)
        if found not in ("same", "error"):
            wrong[place, bit] = found

    assert wrong == {}


def test_check_finds_every_flipped_bit_that_anybody_could_meet(made):
    chance = random.Random(2)
    unseen = []

    for place in range(PAGE_SIZE, len(made.bytes), step(3)):
        bit = 1 << chance.randrange(8)
        damage(made, lambda data, place=place, bit=bit: data.__setitem__(place, data[place] ^ bit))
        report = check_log(made.path)  # Never an exception.
        if report.ok:
            unseen.append(place)

    assert unseen == []


def test_a_commit_to_a_damaged_log_does_not_make_it_worse(made):
    chance = random.Random(3)

    for place in chance.sample(range(PAGE_SIZE, len(made.bytes)), 150):
        damage(made, lambda data, place=place: data.__setitem__(place, data[place] ^ 4))
        before = made.path.read_bytes()[PAGE_SIZE:]
        try:
            with Database(TransactionLog(made.path, sync=False)) as database:
                set_key(database, "next", place)
        except Error:
            pass
        finally:
            transaction.abort()
            transaction.manager.clearSynchs()

        # Nothing was cut, skipped or mended.
        assert made.path.read_bytes()[PAGE_SIZE:].startswith(before)


@pytest.mark.parametrize("length", [1, 8, 64, 512])
def test_bytes_that_became_zeros_are_an_error_or_change_nothing(made, length):
    chance = random.Random(length)

    for place in chance.sample(range(PAGE_SIZE, len(made.bytes) - length), 100):
        damage(
            made,
            lambda data, place=place: data.__setitem__(
                slice(place, place + length), bytes(length)
            ),
        )

        assert outcome(made) in ("same", "error")


def test_a_transaction_that_is_there_twice_is_an_error(made):
    last = made.bytes[made.ends[-2] :]
    ends = dict.fromkeys(NOTHING_DURABLE, len(made.bytes) + len(last))
    page = with_words(made.pages[-1], **ends)
    made.path.write_bytes(page + made.bytes[PAGE_SIZE:] + last)

    assert outcome(made) == "error"
    assert not check_log(made.path).ok


def test_a_transaction_that_is_missing_in_the_middle_is_an_error(made):
    cut = made.bytes[PAGE_SIZE : made.ends[1]] + made.bytes[made.ends[2] :]
    page = with_words(made.pages[-1], **dict.fromkeys(NOTHING_DURABLE, PAGE_SIZE + len(cut)))
    made.path.write_bytes(page + cut)

    assert outcome(made) == "error"
    assert not check_log(made.path).ok
