"""Repair: what is whole is saved, what is not is named, and the damaged file stays as it is."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import pickle
import random
from bisect import bisect_right
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.check import check_database, check_log
from dobbin_like.database import Database
from dobbin_like.exc import (
    FormatVersionError,
    IntegrityError,
    NotALogError,
    ObjectNotFound,
    PastDroppedError,
)
from dobbin_like.ids import NO_TID
from dobbin_like.log.format.header import (
    DURABLE,
    PAGE_SIZE,
    SAVED,
    WAITING,
    WORD_SIZE,
    WORDS_OFFSET,
    decode_page,
    inode_value,
    word_offset,
)
from dobbin_like.log.format.record import ENTRY_SIZE, POSITIONS_SIZE, TRANSACTION_SIZE, LogPlace
from dobbin_like.log.reading.reader import ReadBuffer, read_frame
from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentList,
    checkout,
)
from dobbin_like.repair import RepairReport, repair
from dobbin_like.repair.bits import LIMIT, find_flip, seed_before
from dobbin_like.repair.listing import readable_classes
from dobbin_like.storage import TransactionLog
from tests.helpers.amount import spread
from tests.helpers.limits import at_most
from tests.helpers.log_files import with_words, without_word, word_in
from tests.helpers.transactions import fail

if TYPE_CHECKING:
    from pathlib import Path


class Thing(Persistent):
    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.text = "x" * 40


class Other(Persistent):
    """A class that a later transaction brings."""


# -- logs, and what is in them ------------------------------------------------------


def commit(note: str) -> None:
    current = transaction.get()
    current.user = "ann"
    current.note(note)
    transaction.commit()


def make(path: Path) -> None:
    """Write a log with some of everything."""
    with Database(TransactionLog(path, sync=False)) as database:
        root = PersistentDict()
        database.set_root(root)
        commit("root")
        for number in range(4):
            checkout(root)
            root[number] = Thing(number)
            commit(f"thing {number}")
        checkout(root)
        root["many"] = PersistentList([Thing(number) for number in range(10, 20)])
        commit("many at once")
        save(database)
        checkout(root)
        root["file"] = PersistentFile(io.BytesIO(b"stream" * 300))
        commit("a stream")
        fail(path, database, user="ann")
        for number in range(4):
            checkout(root[number])
            root[number].number += 100
            commit(f"change {number}")
        checkout(root)
        root["other"] = Other()
        commit("another class")
        checkout(root[0], root[1])
        root[0].text = root[1].text = "last"
        commit("two")


def save(database: Database) -> None:
    """Let the positions be saved."""
    storage: Any = database.storage
    storage.acquire()
    storage._writing.writer.save()
    storage.release()


class Saved(NamedTuple):
    """One transaction, as far as a repair keeps it."""

    tid: int
    failed: bool
    user: str
    description: str
    reason: str
    oids: tuple[int, ...]
    states: tuple[bytes, ...]


STREAM = b"\0stream"


def contents(path: Path) -> list[tuple[Saved, tuple[int, int]]]:
    """Return the transactions of a log, and where each begins and ends."""
    found = []
    with TransactionLog(path, read_only=True) as log:
        for logged in log.transactions():
            entries = [] if logged.failed else list(log.entries(logged))
            # The state of a stream object names an offset, which changes.
            streams = {
                number for number, _, names in log.names.rows().shapes if "_offset" in names
            }
            states = tuple(STREAM if e.number in streams else e.data for _, e in entries)
            texts = logged.user, logged.description, logged.reason
            saved = Saved(logged.tid, logged.failed, *texts, tuple(logged.oids), states)
            found.append((saved, (logged.offset, logged.end)))
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log without a fault, made once; tests damage copies."""
    transaction.manager.manager.clearSynchs()
    path = tmp_path_factory.mktemp("sound") / "sound.log"
    make(path)
    return path


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "mended.log"


def repaired(data: bytes, path: Path, to: Path) -> RepairReport:
    """Repair a file of these bytes; the file must not change."""
    path.write_bytes(data)
    to.unlink(missing_ok=True)
    before = path.stat()
    report = repair(path, to)
    after = path.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert path.read_bytes() == data
    assert sorted(item.name for item in path.parent.iterdir()) == sorted([path.name, to.name])
    return report


def assert_can_be_used(path: Path) -> None:
    """Read what can be read, and commit, if what is left has a root that can be changed."""
    manager = transaction.TransactionManager()
    with Database(path, transaction_manager=manager) as database:
        if database.root is None or not isinstance(database.root, PersistentDict):
            return
        checkout(database.root)
        database.root["new"] = Thing(1000)
        manager.commit()
    with Database(path, transaction_manager=manager) as database:
        assert database.root["new"].number == 1000


# -- nothing is wrong ------------------------------------------------------------------


def test_of_a_sound_log_everything_is_saved(sound, path, to):
    report = repaired(sound.read_bytes(), path, to)

    assert report.complete
    assert report.mended == []
    assert report.check is not None
    assert report.check.ok, report
    assert [saved for saved, _ in contents(to)] == [saved for saved, _ in contents(sound)]
    assert (report.transactions, report.failed, report.streams) == (15, 1, 1)
    assert "nothing was lost" in str(report)
    with Database(to) as database:
        database.root["file"].open()
        assert database.root["file"].read() == b"stream" * 300
        assert database.root[0].text == "last"
        assert database.storage.complete_since == 0
    assert_can_be_used(to)


def test_the_new_log_is_no_copy_of_the_old_one(sound, path, to):
    repaired(sound.read_bytes(), path, to)

    assert to.read_bytes()[16:32] != sound.read_bytes()[16:32]


def test_a_file_that_may_only_be_read_is_repaired(sound, path, to):
    path.write_bytes(sound.read_bytes())
    path.chmod(0o400)

    assert repair(path, to).complete


def test_progress_rises_to_the_end(sound, path, to):
    calls: list[tuple[int, int]] = []
    path.write_bytes(sound.read_bytes())

    repair(path, to, lambda done, total: calls.append((done, total)))

    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]


def test_what_is_behind_the_committed_end_is_adopted_if_it_is_whole(sound, path, to):
    second_last = contents(sound)[-2][1][1]
    data = bytearray(with_words(sound.read_bytes(), DURABLE=second_last, LOOSE=second_last))

    assert repaired(bytes(data), path, to).transactions == 15
    report = repaired(bytes(data[:-8]), path, to)
    assert (report.transactions, report.losses) == (14, [])
    at = data.rindex(b"last")
    data[at : at + 4] = b"\0\1\2\3"
    report = repaired(bytes(data), path, to)
    assert (report.transactions, report.losses) == (14, [])


@pytest.fixture(scope="module")
def in_use(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log as somebody leaves it who is killed: zeros ahead, and an end that is not durable."""
    folder = tmp_path_factory.mktemp("killed")
    manager = transaction.TransactionManager()
    with Database(folder / "open.log", transaction_manager=manager) as database:
        database.set_root(PersistentDict())
        manager.commit()
        for number in range(6):
            checkout(database.root)
            database.root[number] = Thing(number)
            manager.commit()
        (folder / "killed.log").write_bytes((folder / "open.log").read_bytes())
    path = folder / "killed.log"
    durable = contents(path)[3][1][1]
    path.write_bytes(with_words(path.read_bytes(), DURABLE=durable, SYNCING=durable))
    return path


@pytest.mark.parametrize("word", [None, *range(WAITING + 1)])
def test_zeros_that_were_written_ahead_are_no_loss(in_use, path, to, word):
    data = in_use.read_bytes()
    assert not any(data[-50_000:])

    report = repaired(data if word is None else without_word(data, word), path, to)

    assert report.complete, report
    assert [saved for saved, _ in contents(to)] == [saved for saved, _ in contents(in_use)]
    assert_can_be_used(to)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("index", range(7))
def test_wherever_a_log_in_use_is_zeroed_the_rest_is_saved(in_use, path, to, index, header):
    """Behind what is durable it ends there, as for recovery, if its words can be read."""
    data, known = bytearray(in_use.read_bytes()), contents(in_use)
    first, last = known[index][1]
    data[first:last] = bytes(last - first)
    if not header:
        data[:PAGE_SIZE] = bytes(PAGE_SIZE)

    report = repaired(bytes(data), path, to)

    behind = index > 3 and header
    expected = known[:index] + ([] if behind else known[index + 1 :])
    # The names of attributes may be gone with the transaction.
    assert [saved[:-1] for saved, _ in contents(to)] == [saved[:-1] for saved, _ in expected]
    # Without a header, zeros at the end may have been written ahead.
    assert report.complete == (behind or (index == 6 and not header)), report
    assert_can_be_used(to)


def test_a_flipped_bit_behind_what_is_durable_is_corrected(in_use, path, to):
    for at in range(*contents(in_use)[5][1], 9):
        data = bytearray(in_use.read_bytes())
        data[at] ^= 16

        report = repaired(bytes(data), path, to)

        assert (report.complete, report.transactions) == (True, 7), (at, report)


# -- one flipped bit ---------------------------------------------------------------------


def bits(data: bytes) -> list[int]:
    """Return every bit that means something: all but the unused part of the header page."""
    used = range(WORDS_OFFSET + WORD_SIZE * WAITING)
    return [bit for bit in range(len(data) * 8) if bit // 8 >= PAGE_SIZE or bit // 8 in used]


def assert_one_bit_loses_nothing(sound: Path, path: Path, to: Path, chosen: list[int]) -> None:
    data = sound.read_bytes()
    expected = [saved for saved, _ in contents(sound)]
    for bit in chosen:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8

        report = repaired(bytes(damaged), path, to)

        assert report.complete, (bit, str(report))
        assert report.check is not None
        assert report.check.ok, (bit, str(report))
        assert [saved for saved, _ in contents(to)] == expected, bit


def test_no_flipped_bit_loses_anything(sound, path, to):
    chosen = spread(bits(sound.read_bytes()), 3, seed=2)

    assert_one_bit_loses_nothing(sound, path, to, chosen)


def test_what_was_put_right_is_told(sound, path, to):
    data = bytearray(sound.read_bytes())
    at = data.rindex(b"last")
    data[at] ^= 4

    report = repaired(bytes(data), path, to)

    assert report.mended == [at]
    assert f"flipped bits corrected, in the bytes at {at}" in str(report)


@given(st.binary(min_size=1, max_size=2000), st.integers(0), st.integers(0, 2**32 - 1))
def test_a_flipped_bit_is_found(data, bit, seed):
    bit %= len(data) * 8
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    difference = crc32(data, seed) ^ crc32(changed, seed)

    assert find_flip(difference, len(data)) == (bit // 8, 1 << bit % 8)
    assert seed_before(data, crc32(data, seed)) == seed


@given(st.binary(min_size=2, max_size=2000), st.lists(st.integers(0), min_size=2, max_size=2))
def test_two_flipped_bits_are_not_taken_for_one(data, flipped):
    changed = bytearray(data)
    for bit in flipped:
        changed[bit // 8 % len(data)] ^= 1 << bit % 8

    if changed != data and crc32(changed) != crc32(data):
        assert find_flip(crc32(data) ^ crc32(changed), len(data)) is None


def test_too_many_bytes_are_not_searched():
    assert find_flip(1, LIMIT + 1) is None
    assert find_flip(0, 10) is None


def frames(path: Path) -> list[int]:
    """Return where the frames of a log begin, and its end."""
    data = path.read_bytes()
    page = decode_page(str(path), data[:PAGE_SIZE])
    tail = LogPlace(PAGE_SIZE, 0, page.checksum, 0, NO_TID)
    found = [tail.end]
    with path.open("rb") as file:
        window = ReadBuffer(file.fileno(), str(path))
        while tail.end < len(data):
            tail = read_frame(window, tail, len(data)).tail
            found.append(tail.end)
    return found


def assert_the_check_names(path: Path, to: Path, seed: int) -> None:
    data, places = path.read_bytes(), frames(path)
    hints = range(word_offset(WAITING), word_offset(WAITING) + WORD_SIZE)
    chosen = spread([bit for bit in range(len(data) * 8) if bit // 8 not in hints], 5, seed)
    for bit in chosen:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        to.write_bytes(damaged)

        report = check_log(to)

        # What refers to something there is named, too.
        others = {f"{lost}, which can't be found" for lost in report.dangling}
        [problem] = [
            problem
            for problem in report.problems
            if problem.found not in others and problem.expected != "an existing stream"
        ]
        assert problem.offset is not None
        if bit < PAGE_SIZE * 8:
            assert problem.offset == 0 or problem.offset // 8 == bit // 64, (bit, str(problem))
        else:
            index = bisect_right(places, bit // 8)
            assert places[index - 1] <= problem.offset < places[index], (bit, str(problem))


def test_the_check_names_every_flipped_bit_with_its_place(sound, to):
    assert_the_check_names(sound, to, seed=7)


def test_the_check_names_every_flipped_bit_of_a_packed_log(packed, to):
    assert_the_check_names(packed, to, seed=8)


# -- a log that was packed ----------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that was packed: versions, transactions and an object are gone from it."""
    path = tmp_path_factory.mktemp("packed") / "packed.log"
    path.write_bytes(sound.read_bytes())
    manager = transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        checkout(database.root)
        del database.root["many"]
        manager.commit()
        database.pack()
        checkout(database.root)
        database.root["after"] = Thing(7)
        manager.commit()
        report = check_log(path)
        assert report.ok, report
    return path


def test_a_packed_log_is_saved_with_what_it_knows(packed, path, to):
    report = repaired(packed.read_bytes(), path, to)

    assert report.complete
    assert report.check is not None
    assert report.check.ok, report
    assert [saved for saved, _ in contents(to)] == [saved for saved, _ in contents(packed)]
    with TransactionLog(packed, read_only=True) as old, TransactionLog(to, read_only=True) as new:
        assert new.complete_since == old.complete_since > 0
        assert new.next_oid == old.next_oid
    with Database(to) as database:
        database.root["file"].open()
        assert database.root["file"].read() == b"stream" * 300


def test_no_flipped_bit_of_a_packed_log_loses_anything(packed, path, to):
    chosen = spread(bits(packed.read_bytes()), 1.5, seed=5)

    assert_one_bit_loses_nothing(packed, path, to, chosen)


def assert_cut_is_noticed(packed: Path, path: Path, to: Path, sizes: list[int]) -> None:
    """Whoever opens, checks or repairs a beginning of the file hears that it is one."""
    data = packed.read_bytes()
    known = contents(packed)
    for size in sizes:
        path.write_bytes(data[:size])
        if size >= PAGE_SIZE:
            # The file itself, not a copy of it.
            path.write_bytes(with_words(data[:size], INODE=inode_value(path.stat().st_ino)))
        with pytest.raises((IntegrityError, NotALogError)) if size else nullcontext():
            TransactionLog(path).close()
        assert not check_log(path).ok or not size
        if size < PAGE_SIZE:
            to.unlink(missing_ok=True)
            with pytest.raises(NotALogError):
                repair(path, to)
            continue
        report = repaired(data[:size], path, to)
        whole = [saved for saved, (_, end) in known if end <= size]
        assert not report.complete
        assert [saved for saved, _ in contents(to)][: len(whole)] == whole


def test_no_beginning_of_a_packed_log_is_taken_for_the_whole(packed, path, to):
    size = packed.stat().st_size
    frames = [place for _, places in contents(packed) for place in places]
    # Where the fixed part of a frame ends, or is cut.
    near = [end + more for end in frames for more in (-8, -1, 0, 1, 8, 47, 49, 52, 87, 89)]
    sizes = {0, 1, PAGE_SIZE - 1, PAGE_SIZE, *(at for at in near if at < size)}

    assert_cut_is_noticed(packed, path, to, sorted(sizes | set(spread(range(size), 1, seed=6))))


def test_a_beginning_of_a_copy_is_opened_and_told(packed, path, caplog):
    data = packed.read_bytes()
    known = contents(packed)
    for size in spread(range(PAGE_SIZE, len(data)), 1, seed=6):
        caplog.clear()
        path.write_bytes(data[:size])
        whole = [saved for saved, (_, end) in known if end <= size]

        report = check_log(path)
        found = [saved for saved, _ in contents(path)]

        assert found == whole
        assert "a copy that was cut" in report.notes[0]
        assert "a copy that was cut" in caplog.text
        with TransactionLog(path):
            pass
        assert (check_log(path).transactions, check_log(path).notes) == (len(whole), [])


# -- more than one bit --------------------------------------------------------------------


class PairUnpickler(pickle.Unpickler):
    """Loads states with pairs in place of objects."""

    def persistent_load(self, pid: Any) -> Any:
        return pid


def loaded(state: bytes) -> Any:
    """Return a state with pairs in place of objects."""
    return PairUnpickler(io.BytesIO(state)).load()


def lost_names(state: bytes) -> tuple[Any, ...] | None:
    """Return the values of a state whose shape was lost; None: it has its own names."""
    attributes = loaded(state) if state != STREAM else {}
    if list(attributes) != [f"lost_{index}" for index in range(len(attributes))]:
        return None
    return tuple(attributes.values())


def assert_what_was_not_hit_is_saved(
    sound: Path, path: Path, to: Path, start: int, junk: bytes
) -> RepairReport:
    """Write *junk* over the log at *start*; all that is elsewhere must be there."""
    data = bytearray(sound.read_bytes())
    junk = junk[: len(data) - start]
    data[start : start + len(junk)] = junk
    end = start + len(junk)

    report = repaired(bytes(data), path, to)

    found = {saved.tid: saved for saved, _ in contents(to)}
    known = contents(sound)
    for saved, (first, last) in known:
        if end <= first or last <= start:
            assert found[saved.tid] == saved, (start, len(junk), str(report))
    states = {
        (saved.tid, oid): state
        for saved, _ in known
        for oid, state in zip(saved.oids, saved.states, strict=False)
    }
    for saved in found.values():
        for oid, state in zip(saved.oids, saved.states, strict=False):
            wanted = states[saved.tid, oid]
            if STREAM in (state, wanted):
                # The class of the stream may be lost, too.
                assert state == wanted or report.losses[0].tid == saved.tid, (start, str(report))
            else:
                assert state == wanted or lost_names(state) == loaded(wanted), start
    if len(found) < len(known):
        assert not report.complete
    assert_can_be_used(to)
    return report


@given(st.integers(0), st.binary(min_size=1, max_size=700), st.booleans())
def test_what_was_not_hit_is_saved(sound, tmp_path, place, junk, zeros):
    size = sound.stat().st_size
    start = PAGE_SIZE + place % (size - PAGE_SIZE)
    junk = bytes(len(junk)) if zeros else junk

    directory = tmp_path / hashlib.sha256(junk + bytes(str(start), "ascii")).hexdigest()
    directory.mkdir(exist_ok=True)
    path, to = directory / "data.log", directory / "mended.log"
    assert_what_was_not_hit_is_saved(sound, path, to, start, junk)


@pytest.mark.parametrize("length", [2, 9, 40, 200, 512, 2000])
def test_wherever_it_was_hit_the_rest_is_saved(sound, path, to, length):
    junk = random.Random(length).randbytes(length)
    for start in spread(range(PAGE_SIZE, sound.stat().st_size), 0.3, seed=length):
        assert_what_was_not_hit_is_saved(sound, path, to, start, junk)


@pytest.mark.parametrize("mark", [b"TRAN", b"STRM", b"POSN", b"SAVE"])
@pytest.mark.parametrize("fill", [b"\xff", b"\0", b"\x10"])
def test_what_looks_like_a_frame_is_none(sound, path, to, mark, fill):
    junk = (fill * 8 + mark + fill * 52) * 10
    for start in range(PAGE_SIZE, sound.stat().st_size - 640, 1000):
        assert_what_was_not_hit_is_saved(sound, path, to, start, junk)
    [(_, (first, _))] = [item for item in contents(sound) if item[0].description == "two"]
    assert_what_was_not_hit_is_saved(sound, path, to, first, junk)


def saved_positions(path: Path) -> int:
    """Return where the newest saved positions are said to be."""
    value = word_in(path.read_bytes(), SAVED)
    assert value
    return value


def test_saved_positions_are_no_loss(sound, path, to):
    at = saved_positions(sound)

    report = assert_what_was_not_hit_is_saved(sound, path, to, at + POSITIONS_SIZE, b"\1\2\3\4\5")

    assert report.complete, report


@pytest.mark.parametrize("byte", [0, 0xFF])
def test_behind_saved_positions_that_are_gone_everything_is_saved(sound, path, to, byte):
    data, at = bytearray(sound.read_bytes()), saved_positions(sound)
    end = next(end for end in frames(sound) if end > at)
    data[at:end] = bytes([byte]) * (end - at)

    report = repaired(bytes(data), path, to)

    assert [(loss.offset, loss.end) for loss in report.losses] == [(at, end)]
    assert [saved for saved, _ in contents(to)] == [saved for saved, _ in contents(sound)]


def test_saved_positions_with_what_follows_them_are_a_loss(sound, path, to):
    """The beginning of the frame is whole but for its class table."""
    data, at = bytearray(sound.read_bytes()), saved_positions(sound)
    behind = next(first for _, (first, _) in contents(sound) if first > at)
    start = at + POSITIONS_SIZE + 5

    report = assert_what_was_not_hit_is_saved(sound, path, to, start, bytes(behind + 300 - start))

    assert not report.complete
    assert [loss.offset for loss in report.losses] == [at]
    assert data[at + 8 : at + 12] == b"SAVE"


def test_a_name_from_a_whole_place_counts_before_a_damaged_one(sound, path, to):
    at = sound.read_bytes().index(b"Thing")

    assert_what_was_not_hit_is_saved(sound, path, to, at, b"Wrong")

    with Database(to) as database:
        assert database.root[1].number == 101


def test_a_hit_in_the_states_loses_those_states_only(sound, path, to):
    [(saved, (first, _))] = [item for item in contents(sound) if item[0].description == "two"]
    at = sound.read_bytes().index(b"last", first)

    report = assert_what_was_not_hit_is_saved(sound, path, to, at, b"\1\2\3\4")

    [loss] = report.losses
    assert (loss.what, loss.tid, loss.oids) == (
        "the state of an object",
        saved.tid,
        saved.oids[:1],
    )
    assert loss.certain
    [kept] = [item for item, _ in contents(to) if item.tid == saved.tid]
    assert kept == saved._replace(oids=saved.oids[1:], states=saved.states[1:])
    with Database(to) as database:
        assert database.root[0].text == "x" * 40
        assert database.root[1].text == "last"
        assert database.storage.complete_since == saved.tid


def test_a_hit_in_what_a_transaction_says_of_itself_keeps_its_objects(sound, path, to):
    [(saved, (first, _))] = [item for item in contents(sound) if item[0].description == "two"]
    at = sound.read_bytes().index(b"two", first)

    report = assert_what_was_not_hit_is_saved(sound, path, to, at, b"\xff\xfe\xfd")

    [loss] = report.losses
    assert loss.tid == saved.tid
    [kept] = [item for item, _ in contents(to) if item.tid == saved.tid]
    assert (kept.oids, kept.states) == (saved.oids, saved.states)


@pytest.mark.parametrize("row", [0, 3, 11])
def test_a_hit_in_an_entry_loses_that_object_only(sound, path, to, row):
    [(saved, (first, _))] = [
        item for item in contents(sound) if item[0].description == "many at once"
    ]
    assert len(saved.oids) == 12
    start = first + TRANSACTION_SIZE + row * ENTRY_SIZE

    report = assert_what_was_not_hit_is_saved(sound, path, to, start, b"\xff" * ENTRY_SIZE)

    [kept] = [item for item, _ in contents(to) if item.tid == saved.tid]
    assert kept.oids == saved.oids[:row] + saved.oids[row + 1 :]
    lost = [loss for loss in report.losses if loss.what == "the state of an object"]
    assert [(loss.offset, loss.tid, loss.certain) for loss in lost] == [(start, saved.tid, False)]


def test_a_transaction_that_is_lost_is_named(sound, path, to):
    [(saved, (first, _))] = [item for item in contents(sound) if item[0].description == "thing 1"]

    report = assert_what_was_not_hit_is_saved(
        sound, path, to, first + TRANSACTION_SIZE + 32, bytes(500)
    )

    assert report.losses[0].offset == first
    assert report.losses[0].tid == saved.tid
    assert f"{first} to " in str(report)
    assert "according to damaged bytes" in str(report)


def refuse(patch: pytest.MonkeyPatch, path: Path, place: int, block: int = 512) -> None:
    """Let the disk not give a block of the file at *path*."""
    pread = os.pread

    def refusing(fd: int, size: int, offset: int) -> bytes:
        is_log = os.fstat(fd).st_ino == path.stat().st_ino
        if is_log and offset < place + block and place < offset + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, size, offset)

    patch.setattr(os, "pread", refusing)


@pytest.mark.parametrize("block", range(8))
def test_what_the_disk_refuses_to_give_is_named_by_the_check(sound, path, monkeypatch, block):
    path.write_bytes(sound.read_bytes())
    place = block and PAGE_SIZE + 1024 * (block - 1)
    with monkeypatch.context() as patch:
        refuse(patch, path, place)
        report = check_log(path)

    places = frames(sound)
    hit = {
        index
        for index, pair in enumerate(itertools.pairwise([0, *places]))
        if pair[0] < place + 512 and place < pair[1]
    }
    named = {
        bisect_right(places, problem.offset)
        for problem in report.problems
        if problem.invariant == 5 and problem.offset is not None
    }
    # One that can't be read may hide where the next one begins.
    assert named
    assert named <= hit
    assert min(named) == min(hit)
    if place:
        starts = [bisect_right(places, first) for _, (first, _) in contents(sound)]
        sure = [index for index in starts if not hit & {index - 1, index}]
        assert report.transactions >= len(sure)


def test_what_the_disk_refuses_to_give_hurts_only_who_touches_it(sound, path, monkeypatch):
    path.write_bytes(sound.read_bytes())
    [(_, (first, last))] = [item for item in contents(sound) if item[0].description == "change 2"]
    at = sound.read_bytes().rindex(b"xxxx", first, last)
    manager = transaction.TransactionManager()
    with (
        monkeypatch.context() as patch,
        Database(path, transaction_manager=manager) as database,
    ):
        refuse(patch, path, at, block=8)
        with pytest.raises(IntegrityError) as caught:
            database.root[2].number  # noqa: B018
        assert caught.value.path == str(path)
        assert first <= caught.value.offset < last
        assert [database.root[number].number for number in (0, 1, 3)] == [100, 101, 103]
        assert [each.number for each in database.root["many"]] == list(range(10, 20))


@pytest.mark.parametrize("place", [0, PAGE_SIZE, PAGE_SIZE + 1024, PAGE_SIZE + 4096])
def test_what_the_disk_refuses_to_give_is_damaged(sound, path, to, monkeypatch, place):
    path.write_bytes(sound.read_bytes())
    with monkeypatch.context() as patch:
        refuse(patch, path, place)
        report = repair(path, to)

    assert report.refused == [place]
    assert f"could not read, at {place}" in str(report)
    found = {saved.tid: saved for saved, _ in contents(to)}
    for saved, (first, last) in contents(sound):
        if place + 512 <= first or last <= place:
            assert found[saved.tid] == saved
    assert_can_be_used(to)


def test_after_a_loss_no_past_is_offered(sound, path, to):
    known = contents(sound)
    first, last = known[3][1]

    assert_what_was_not_hit_is_saved(sound, path, to, first, bytes(last - first))

    with Database(to) as database:
        newest = database.tid
        with pytest.raises(PastDroppedError):
            list(database.changes(known[0][0].tid))
        with pytest.raises(PastDroppedError):
            database.at(known[-2][0].tid)
        with database.at(newest) as past:
            assert past.root[2].number == 102


# -- what is missing afterwards --------------------------------------------------------------


def test_a_lost_object_is_named_and_hurts_only_who_touches_it(sound, path, to):
    [(saved, (first, last))] = [
        item for item in contents(sound) if item[0].description == "another class"
    ]

    report = assert_what_was_not_hit_is_saved(sound, path, to, first, bytes(last - first))

    assert report.check is not None
    assert report.check.dangling == []  # The root that refers to it is lost as well.
    assert max(saved.oids) not in {oid for item, _ in contents(to)[:-1] for oid in item.oids}


def test_an_oid_that_somebody_refers_to_is_not_given_away(path, to):
    with Database(TransactionLog(path, sync=False)) as database:
        root = PersistentDict()
        database.set_root(root)
        commit("root")
        checkout(root)
        root["a"] = Thing(1)
        commit("a")
        checkout(root)
        root["b"] = 2
        commit("b")
    [(_, (first, last))] = [item for item in contents(path) if item[0].description == "a"]
    data = bytearray(path.read_bytes())
    data[first:last] = bytes(last - first)

    report = repaired(bytes(data), path, to)

    assert report.check is not None
    [dangling] = report.check.dangling
    assert (dangling.oid, dangling.path, dangling.target) == (0, "._items['a']", 1)
    manager = transaction.TransactionManager()
    with Database(to, transaction_manager=manager) as database:
        lost = database.root["a"]
        with pytest.raises(ObjectNotFound):
            lost.number  # noqa: B018
        assert database.root["b"] == 2
        checkout(database.root)
        database.root["c"] = Thing(3)
        manager.commit()
        assert database.root["c"]._p_oid == 2


def without_the_names(path: Path, *, saved: bool = False) -> bytes:
    """Return a log that has lost the transaction by which a class became known to it."""
    with Database(TransactionLog(path, sync=False)) as database:
        root = PersistentDict()
        database.set_root(root)
        commit("root")
        checkout(root)
        root["thing"] = Thing(1)
        commit("a class")
        checkout(root["thing"])
        root["thing"].number = 2
        commit("again")
        if saved:
            save(database)
    [(_, (first, last))] = [item for item in contents(path) if item[0].description == "a class"]
    data = bytearray(path.read_bytes())
    data[first:last] = bytes(last - first)
    return bytes(data)


def test_a_class_whose_name_is_lost_gets_one_that_can_be_renamed(path, to):
    data = without_the_names(path)

    report = repaired(data, path, to)

    assert report.check is not None
    assert report.check.ok, report
    with Database(to) as database:
        assert (4, "lost", "Class4") in database.storage.names.rows().classes
        database.rename_class("lost.Class4", f"{__name__}.Thing")
        thing = database.get(1)
        # The names of its attributes stood in the lost transaction only.
        assert vars(thing) == {"lost_0": 2, "lost_1": "x" * 40}
        assert type(thing).__name__ == "Thing"
    assert "it is lost.Class4 now" in str(report)


def test_names_of_classes_are_found_with_saved_positions(path, to):
    data = without_the_names(path, saved=True)

    repaired(data, path, to)

    with Database(to) as database:
        assert database.get(1).number == 2


@pytest.mark.parametrize("more", [True, False])
def test_a_new_name_whose_transaction_is_lost_is_found_with_saved_positions(path, to, more):
    with Database(TransactionLog(path, sync=False)) as database:
        root = PersistentDict({"thing": Thing(1)})
        database.set_root(root)
        commit("root")
        checkout(root)
        root[1] = 1
        commit("before")
        database.rename_class(f"{__name__}.Thing", f"{__name__}.Other")
        save(database)
        if more:
            checkout(root)
            root[1] = 2
            commit("after")
    renamed = next(item for item in contents(path) if item[0].description == "before")[1][1]
    data = bytearray(path.read_bytes())
    data[renamed : renamed + 60] = bytes(60)

    report = repaired(bytes(data), path, to)

    assert [loss.offset for loss in report.losses] == [renamed]
    with Database(to) as database:
        assert isinstance(database.get(1), Other)
        assert database.get(1).number == 1


def test_a_stream_whose_names_are_damaged_stays(sound, path, to):
    """What the transaction that has stored it says of itself is damaged beyond the names."""
    [(_, (first, _))] = [item for item in contents(sound) if item[0].description == "a stream"]
    at = sound.read_bytes().index(b"a stream", first)

    report = assert_what_was_not_hit_is_saved(sound, path, to, at, b"\xff\xfe\xfd")

    assert not report.complete
    with Database(to) as database:
        file = database.root["file"]
        file.open()
        assert file.read() == b"stream" * 300


def test_a_stream_that_is_damaged_is_lost_and_its_object_stays(sound, path, to):
    at = sound.read_bytes().index(b"streamstream")

    report = assert_what_was_not_hit_is_saved(sound, path, to, at + 50, b"\0\1\2\3")

    assert [loss.what for loss in report.losses] == [f"a stream that is damaged at {at}"]
    with Database(to) as database:
        file = database.root["file"]
        with pytest.raises(IntegrityError):
            file.open()
        assert database.root[2].number == 102


def test_a_log_in_a_stream_is_not_taken_for_a_part_of_this_one(sound, path, to):
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict())
        commit("root")
        checkout(database.root)
        database.root["copy"] = PersistentFile(io.BytesIO(sound.read_bytes()))
        commit("a log in a stream")
        checkout(database.root)
        database.root["more"] = 1
        commit("after")
    data = bytearray(path.read_bytes())
    first = data.index(b"STRM") - 8
    data[first : first + 40] = bytes(40)

    report = repaired(bytes(data), path, to)

    assert [saved.description for saved, _ in contents(to)] == [
        "root",
        "a log in a stream",
        "after",
    ]
    assert len(report.losses) == 1


# -- the header, and the end ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "size"), [(0, PAGE_SIZE), (0, 12), (16, 24), (64, 8), (64, 300), (0, 64), (4000, 96)]
)
@pytest.mark.parametrize("byte", [0, 0xFF])
def test_without_its_header_a_log_is_saved_whole(sound, path, to, start, size, byte):
    data = bytearray(sound.read_bytes())
    data[start : start + size] = bytes([byte]) * size

    report = repaired(bytes(data), path, to)

    assert report.complete, report
    assert [saved for saved, _ in contents(to)] == [saved for saved, _ in contents(sound)]
    assert_can_be_used(to)


def test_a_committed_end_inside_the_header_is_not_believed(sound, path, to):
    report = repaired(with_words(sound.read_bytes(), DURABLE=8), path, to)

    assert [saved for saved, _ in contents(to)] == [saved for saved, _ in contents(sound)]
    assert "the header has no committed end" in str(report)


@pytest.mark.parametrize("present", [True, False])
def test_of_a_log_that_was_cut_the_beginning_is_saved(sound, path, to, present):
    data = sound.read_bytes()
    if not present:
        data = without_word(data, DURABLE)
    known = contents(sound)
    for size in random.Random(3).sample(range(PAGE_SIZE, len(data)), 40):
        report = repaired(data[:size], path, to)

        whole = [saved for saved, (_, end) in known if end <= size]
        assert [saved for saved, _ in contents(to)][: len(whole)] == whole
        if present:
            assert not report.complete


def test_after_a_power_cut_everything_readable_is_saved(sound, path, to):
    data = bytearray(with_words(sound.read_bytes(), DURABLE=PAGE_SIZE))
    first, last = contents(sound)[3][1]
    data[first:last] = bytes(last - first)

    assert repaired(bytes(data), path, to).transactions == 14


# -- refusals -----------------------------------------------------------------------------


def test_a_file_that_is_there_is_not_written_to(sound, path, to):
    path.write_bytes(sound.read_bytes())
    to.write_bytes(b"mine")

    with pytest.raises(FileExistsError) as caught:
        repair(path, to)

    assert caught.value.filename == str(to)
    assert to.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "data",
    [b"", b"hello\n", bytes(5000), b"hello\n" * 3000, b"\x93DobLog\n" + bytes(100)],
    ids=["nothing", "a line", "zeros", "lines", "a part of a page"],
)
def test_what_is_no_log_is_refused(path, to, data):
    path.write_bytes(data)

    with pytest.raises(NotALogError):
        repair(path, to)

    assert not to.exists()


def test_a_newer_format_is_refused(sound, path, to):
    data = bytearray(sound.read_bytes())
    data[8:12] = (99).to_bytes(4, "little")
    size = 56
    data[size : size + 4] = crc32(data[:size]).to_bytes(4, "little")
    path.write_bytes(data)

    with pytest.raises(FormatVersionError):
        repair(path, to)


def test_a_file_that_is_not_there_is_an_error_of_the_system(path, to):
    with pytest.raises(FileNotFoundError):
        repair(path, to)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_full_disk_leaves_no_new_file(sound, path, to, share):
    path.write_bytes(sound.read_bytes())
    with (
        at_most(int(path.stat().st_size * share)),
        pytest.raises(OSError, match="too large") as caught,
    ):
        repair(path, to)

    assert str(caught.value.filename).startswith(str(to))
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == sound.read_bytes()


@pytest.mark.parametrize("moment", [1, 5, 10, 20, 40])
def test_an_interrupt_leaves_no_new_file(sound, path, to, moment):
    path.write_bytes(sound.read_bytes())
    calls: list[int] = []

    def interrupt(done: int, _total: int) -> None:
        calls.append(done)
        if len(calls) == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(path, to, interrupt)

    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert repair(path, to).complete


# -- before it is repaired ---------------------------------------------------------------------


@pytest.fixture
def hurt(sound: Path, path: Path) -> Path:
    """A log in which the newest state of one object is damaged: root[2]."""
    data = bytearray(sound.read_bytes())
    [(_, (first, last))] = [item for item in contents(sound) if item[0].description == "change 2"]
    at = data.rindex(b"xxxx", first, last)
    data[at : at + 4] = b"\0\1\2\3"
    path.write_bytes(data)
    return path


def test_a_damaged_state_hurts_only_those_who_touch_it(hurt):
    manager = transaction.TransactionManager()
    with Database(hurt, transaction_manager=manager) as database:
        root = database.root
        with pytest.raises(IntegrityError) as caught:
            root[2].number  # noqa: B018
        assert caught.value.path == str(hurt)
        assert [root[number].number for number in (0, 1, 3)] == [100, 101, 103]
        checkout(root, root[1])
        root[1].number = 7
        root["new"] = Thing(8)
        manager.commit()
        with pytest.raises(IntegrityError):
            checkout(root[2])
        manager.abort()
    with Database(hurt, transaction_manager=manager) as database:
        assert (database.root[1].number, database.root["new"].number) == (7, 8)
        report = check_database(database)
    [offset] = {problem.offset for problem in report.problems}
    assert offset == caught.value.offset


def test_a_damaged_object_can_be_left_behind(hurt):
    manager = transaction.TransactionManager()
    with Database(hurt, transaction_manager=manager) as database:
        checkout(database.root)
        del database.root[2]
        manager.commit()
        assert 2 not in database.root


def test_others_go_on_while_a_process_meets_damage(hurt):
    managers = [transaction.TransactionManager() for _ in range(2)]
    with (
        Database(hurt, transaction_manager=managers[0]) as first,
        Database(hurt, transaction_manager=managers[1]) as second,
    ):
        for number in range(3):
            with pytest.raises(IntegrityError):
                first.root[2].number  # noqa: B018
            checkout(second.root[3])
            second.root[3].number = number
            managers[1].commit()
            managers[0].begin()
            assert first.root[3].number == number


def test_the_check_and_the_repair_name_the_same_damage(hurt, to):
    checked = check_log(hurt)

    report = repair(hurt, to)

    assert [loss.offset for loss in report.losses] == [p.offset for p in checked.problems]


@pytest.mark.parametrize("packed", [False, True])
def test_classes_are_counted_as_a_census_counts_them(path: Path, packed: bool) -> None:
    """Changes of large collections, new names of classes, objects of which versions are gone."""
    with Database(path) as database:
        items = PersistentDict({number: number for number in range(2000)})
        database.set_root(PersistentDict(items=items, thing=Thing(1), other=Thing(2)))
        transaction.commit()
        for number in range(5):
            checkout(items, database.root["thing"])
            items[number] = -number
            database.root["thing"].number = number
            transaction.commit()
        database.rename_class(f"{__name__}.Thing", f"{__name__}.Other")
        if packed:
            database.pack()
        checkout(items)
        items["last"] = "one"
        transaction.commit()
        expected = database.census()

    tid, counts, losses = readable_classes(str(path))

    assert (tid, losses) == (expected.tid, [])
    assert counts == {count.name: [count.objects, count.bytes] for count in expected.classes}
