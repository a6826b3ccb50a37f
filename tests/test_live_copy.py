"""A copy of a log in use is a whole database, whoever makes it, at whatever moment.

A tool that copies knows nothing of locks: it reads the file from its start to its end, and
others write between any two of its reads. First every moment of a small log, one by one:
at each line of the code that writes it, the file is kept as it was there, and copies are
put together from these images as a tool would. Then real tools and real writers.

What has to come out: a state that there was, with everything that was committed before the
copy was begun; for those who only read, and for the next one who writes.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import multiprocessing
import os
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import Error, IntegrityError
from dobbin_like.log.format.header import DURABLE, PAGE_SIZE, REPLACED, STATE
from dobbin_like.persistent import PersistentDict, PersistentFile, PersistentStream, checkout
from dobbin_like.storage import TransactionLog
from dobbin_like.watch import LogWatch
from tests.helpers.amount import LONG, step
from tests.helpers.log_files import word_in
from tests.helpers.processes import run, start
from tests.helpers.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

fork = multiprocessing.get_context("fork")
WAIT_SECONDS = 60


class Veto(Exception):
    pass


class Other:
    """Another participant, so that a commit is prepared and decided in two steps."""

    transaction_manager = None

    def __init__(self, *, veto: bool) -> None:
        self.veto = veto

    def tpc_vote(self, _transaction: Any) -> None:
        if self.veto:
            raise Veto

    def sortKey(self) -> str:  # noqa: N802
        return "~ after all others"

    def nothing(self, _transaction: Any) -> None:
        pass

    abort = commit = tpc_begin = tpc_finish = tpc_abort = nothing


KINDS = ("plain", "two steps", "stream", "unstorable", "vetoed", "vetoed stream", "large")
FAIL = {"unstorable", "vetoed", "vetoed stream"}
SCRIPT = [
    *("plain", "two steps", "vetoed stream", "unstorable", "stream", "vetoed"),
    *("two steps", "vetoed", "plain", "large", "vetoed stream", "two steps"),
]


def change(database: Database, key: str, number: int, kind: str) -> bool:
    """Run one transaction that lets the item *key* of the root be *number*; tell if it succeeds.

    Every successful one moves something from one item to another: the sum stays.
    """
    manager = database.transaction_manager
    manager.begin()
    mine = database.root[key]
    checkout(mine)
    mine["n"] = number
    mine["left"], mine["right"] = -number, number
    if kind == "large":
        mine["pad"] = os.urandom(9000)
    if "stream" in kind:
        mine["stream"] = PersistentFile(io.BytesIO(b"%d," % number * 700))
        mine["length"] = len(b"%d," % number * 700)
    if kind == "unstorable":
        mine["bad"] = lambda: 0
    if "vetoed" in kind or kind == "two steps":
        manager.get().join(Other(veto="vetoed" in kind))
    manager.get().note(f"{key} {number}")
    if kind not in FAIL:
        manager.commit()
        return True
    with contextlib.suppress(Veto, Error):
        manager.commit()
    manager.abort()
    return False


def content(database: Database) -> dict[str, int] | None:
    """Read everything; return the number of each item. What is not one state is an error."""
    database.transaction_manager.begin()
    if database.root is None:
        return None
    for mine in database.root.values():
        assert mine["left"] + mine["right"] == 0
        assert mine["right"] == mine["n"]
        assert "bad" not in mine
        if isinstance(mine.get("stream"), PersistentStream):
            assert len(b"".join(mine["stream"])) == mine["length"]
    return {key: mine["n"] for key, mine in database.root.items()}


def item() -> PersistentDict:
    return PersistentDict(n=0, left=0, right=0)


def open_at(path: Path, **options: Any) -> Database:
    manager = transaction.TransactionManager()
    return Database(TransactionLog(path, **options), transaction_manager=manager)


# -- every moment of a small log ------------------------------------------------------------


@dataclass
class Moments:
    """A file as it was at each moment, and how many commits had returned by then."""

    path: Path
    images: list[bytes] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)  # Tids, in the end.
    states: dict[int, Any] = field(default_factory=dict)  # By tid.


class Camera:
    """A tracer that looks at a file at every line of the modules that write it."""

    def __init__(self, look: Callable[[], object]) -> None:
        self.look = look

    def __call__(self, frame: Any, _event: str, _arg: Any) -> Any:
        name = frame.f_globals.get("__name__", "")
        return self.line if name.startswith(("dobbin_like.log.", "dobbin_like.upkeep.")) else None

    def line(self, _frame: Any, _event: str, _arg: Any) -> Any:
        self.look()
        return self.line


def with_halves(images: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each image with its index; before it, one in which half of what it adds is there."""
    for index, image in enumerate(images):
        size = len(images[index - 1]) if index else 0
        if PAGE_SIZE <= size < len(image) - 1:
            yield index - 1, image[: (size + len(image)) // 2]
        yield index, image


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Moments:
    """All moments of a log in which everything occurs, by a synced and another instance."""
    path = tmp_path_factory.mktemp("live") / "data.log"
    images: list[bytes] = []
    acknowledged: list[int] = []
    count = 0

    def look() -> None:
        image = path.read_bytes() if path.exists() else b""
        if not images or images[-1] != image:
            images.append(image)
            acknowledged.append(count)
        acknowledged[-1] = max(acknowledged[-1], count)

    with open_at(path) as synced, open_at(path, sync=False) as unsynced:
        with tracing(Camera(look)):
            synced.set_root(PersistentDict(a=item()))
            synced.transaction_manager.commit()
            count += 1
            for number, kind in enumerate(
                SCRIPT,
                start=1,
            ):
                database = (synced, unsynced)[number % 2]
                if number == 7:  # Positions are saved at the end of this commit.
                    database.storage._writing.writer.save_after_entries = 0
                count += change(database, "a", number, kind)
                database.storage._writing.writer.save_after_entries = 50_000
        look()
    moments = Moments(path)
    for index, image in with_halves(images):
        moments.images.append(image)
        moments.acknowledged.append(acknowledged[index])
    with TransactionLog(path, read_only=True) as log:
        assert {logged.failed for logged in log.transactions()} == {False, True}
        for logged in log.transactions():
            if not logged.failed:
                moments.committed.append(logged.tid)
                moments.states[logged.tid] = list(log.entries(logged))
    assert len(moments.committed) == count == moments.acknowledged[-1]
    return moments


def states(path: Path, **options: Any) -> dict[int, Any]:
    """Return what the successful transactions have stored, by tid, oldest first."""
    with TransactionLog(path, sync=False, **options) as log:
        if not options:
            log.acquire()
            log.apply(log.read_news())
            log.release()
        assert not log.has_news()
        found = {
            logged.tid: [(oid, stored._replace(position=0)) for oid, stored in log.entries(logged)]
            for logged in log.transactions()
            if not logged.failed
        }
        for entries in found.values():
            for oid, stored in entries:
                loaded = log.load(oid, stored.tid)
                assert loaded is not None
                assert loaded._replace(position=0) == stored
        return found


def is_state(moments: Moments, path: Path, begun: int) -> int:
    """The copy at *path*, begun at a moment, is as of a state; return how many commits it has."""
    reader, writer = states(path, read_only=True) if path.stat().st_size else {}, states(path)
    for found in (reader, writer):
        tids = list(found)
        assert tids == moments.committed[: len(tids)]
        assert len(tids) >= moments.acknowledged[begun]
        for tid, entries in found.items():
            expected = [(oid, s._replace(position=0)) for oid, s in moments.states[tid]]
            assert entries == expected
    assert len(reader) <= len(writer)
    return len(writer)


def is_whole(path: Path) -> None:
    """A check passes, everything can be read, and the next one who writes goes on."""
    if not path.stat().st_size:
        return
    check_log(path).raise_if_bad()
    with open_at(path, sync=False) as database:
        before = content(database)
        if before is not None:
            manager = database.transaction_manager
            with contextlib.suppress(transaction.interfaces.TransientError):
                change(database, next(iter(before)), 1000, "plain")
            manager.abort()  # What lay behind the end was adopted, and is a conflict.
            change(database, next(iter(before)), 1001, "plain")
            assert content(database) is not None
    check_log(path).raise_if_bad()


some_and_more = pytest.mark.parametrize(
    "step", [11, pytest.param(step(5), marks=pytest.mark.slow)], ids=["some", "more"]
)
some_and_many = pytest.mark.parametrize(
    "step", [11, pytest.param(3 if LONG else 7, marks=pytest.mark.slow)], ids=["some", "more"]
)


def pairs(moments: Moments, step: int) -> list[tuple[int, int]]:
    """Return moments and later ones, of all such pairs each *step*-th."""
    count = len(moments.images)
    return [(first, last) for first in range(count) for last in range(first, count)][::step]


@some_and_more
def test_the_page_of_one_moment_and_the_rest_of_any_later_one(
    moments: Moments, tmp_path: Path, step: int
) -> None:
    copy = tmp_path / "copy.log"
    most = 0
    for number, (first, second) in enumerate(pairs(moments, step)):
        page = moments.images[first]
        image = page[:PAGE_SIZE]
        if len(page) >= PAGE_SIZE:
            image += moments.images[second][PAGE_SIZE:]
        copy.write_bytes(image)
        has = is_state(moments, copy, first)
        most = max(most, has - moments.acknowledged[first])
        if number % 29 == 0:
            copy.write_bytes(image)
            is_whole(copy)
    assert most > 5  # What came after the page was read is taken up.


def test_a_page_that_is_newer_than_the_rest_is_an_error_or_what_was_there_at_first(
    moments: Moments, tmp_path: Path
) -> None:
    """A tool that reads the end of a file before its start. Zeros look like damage."""
    copy = tmp_path / "copy.log"
    errors = whole = 0
    last = len(moments.images) - 1
    for first in range(last):
        if len(moments.images[first]) < PAGE_SIZE:
            continue
        image = moments.images[last][:PAGE_SIZE] + moments.images[first][PAGE_SIZE:]
        copy.write_bytes(image)
        try:
            is_state(moments, copy, first)
            whole += 1
        except IntegrityError:
            errors += 1
            assert copy.read_bytes() == image
    assert errors
    assert whole


def in_blocks(images: list[bytes], begun: int, size: int, chance: random.Random) -> bytes:
    """Copy as a tool does, reading *size* bytes at a time until nothing comes any more."""
    copy = b""
    now = begun
    while True:
        block = images[now][len(copy) : len(copy) + size]
        if not block:
            return copy
        copy += block
        if chance.random() < 0.5:
            now = min(len(images) - 1, now + chance.randrange(1, 1 + len(images) // 8))


@pytest.mark.parametrize("size", [104, 777, 1000, 4097, 9999])
def test_blocks_of_any_size_each_read_at_a_later_moment(
    moments: Moments, tmp_path: Path, size: int
) -> None:
    """The smallest ones have each word of the page as of another moment."""
    copy = tmp_path / "copy.log"
    chance = random.Random(size)
    for _ in range(100):
        begun = chance.randrange(len(moments.images))
        image = in_blocks(moments.images, begun, size, chance)
        copy.write_bytes(image)
        is_state(moments, copy, begun)
        copy.write_bytes(image)
        if not chance.randrange(10):
            is_whole(copy)


def is_beginning(short: bytes, image: bytes) -> bool:
    """Tell whether nothing behind the page of *short* was written since."""
    return short[PAGE_SIZE:] == image[PAGE_SIZE : len(short)]


@some_and_many
def test_what_a_copy_lacks_is_appended_at_any_later_moment(
    moments: Moments, tmp_path: Path, step: int
) -> None:
    """As ``rsync --append`` does: what is there stays, the page too."""
    copy = tmp_path / "copy.log"
    stale = complete = 0
    for number, (first, second) in enumerate(pairs(moments, step)):
        short, longer = moments.images[first], moments.images[second]
        image = short + longer[len(short) :]
        copy.write_bytes(image)
        has = is_state(moments, copy, first)
        if len(short) >= PAGE_SIZE and is_beginning(short, longer):
            assert has >= moments.acknowledged[second]
            complete += 1
        # Else there are zeros at the end of the copy, and nothing fits there.
        stale += has < moments.acknowledged[second]
        if number % 29 == 0:
            copy.write_bytes(image)
            is_whole(copy)
    assert complete > 20
    assert stale


@some_and_many
def test_a_tool_that_asks_for_the_size_first_leaves_a_state_that_was(
    moments: Moments, tmp_path: Path, step: int
) -> None:
    """As ``rsync`` and ``tar`` do: what is committed between the two is missing at the end."""
    copy = tmp_path / "copy.log"
    cut = 0
    for number, (first, second) in enumerate(pairs(moments, step)):
        size = len(moments.images[first])
        short = moments.images[second][:size]
        copy.write_bytes(short)
        has = is_state(moments, copy, first)
        cut += has < moments.acknowledged[second]
        if number % 29 == 0:
            copy.write_bytes(short)
            is_whole(copy)
        later = moments.images[min(second + number % 3, len(moments.images) - 1)]
        copy.write_bytes(short + later[size:])
        is_state(moments, copy, second if size else first)
    assert cut > 10


def test_where_a_copy_was_cut_is_told(
    moments: Moments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy.log"
    size = (word_in(moments.images[-1], DURABLE) or 0) - 20
    copy.write_bytes(moments.images[-1][:size])

    found = states(copy, read_only=True)

    assert list(found) == moments.committed[:-1]
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert f"{copy}: a copy that was cut at {size} of {size + 20} bytes" in caplog.text


def test_a_copy_that_was_cut_is_counted_and_watched(moments: Moments, tmp_path: Path) -> None:
    copy = tmp_path / "copy.log"
    size = (word_in(moments.images[-1], DURABLE) or 0) - 20
    copy.write_bytes(moments.images[-1][:size])

    with TransactionLog(copy, read_only=True) as log:
        counts = log.counts()
    with LogWatch(str(copy)) as watch:
        activity = watch.look()

    assert (counts.behind_transactions, counts.behind_bytes) == (0, 0)
    assert (activity.commits, activity.file_bytes) == (0, size)


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_damaged_in_a_copy_that_was_cut_is_an_error(
    moments: Moments, tmp_path: Path, *, read_only: bool
) -> None:
    copy = tmp_path / "copy.log"
    size = (word_in(moments.images[-1], DURABLE) or 0) - 20
    with TransactionLog(moments.path, read_only=True) as log:
        offsets = [logged.offset for logged in log.transactions()][:-1]
    for at in (more + offset for offset in offsets for more in (0, 8, 20, 40)):
        damaged = bytearray(moments.images[-1][:size])
        damaged[at] ^= 1
        copy.write_bytes(damaged)

        with pytest.raises(IntegrityError):
            read(copy, read_only=read_only)
        # Where positions are saved behind the damage, it is met by who reads it.
        assert copy.read_bytes()[PAGE_SIZE : offsets[-1]] == damaged[PAGE_SIZE : offsets[-1]]


def read(path: Path, **options: Any) -> None:
    with TransactionLog(path, **options) as log:
        for logged in log.transactions():
            list(log.entries(logged))


# -- while the log is packed --------------------------------------------------------------


class Film:
    """What a path leads to, and what a file that is open holds, at every moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY)
        self.opened: list[bytes] = []
        self.by_inode: dict[int, list[bytes]] = {}

    def look(self) -> None:
        self._add(self.opened, os.pread(self._fd, 1 << 20, 0))
        inode = self._path.stat().st_ino
        self._add(self.by_inode.setdefault(inode, []), self._path.read_bytes())

    def _add(self, images: list[bytes], image: bytes) -> None:
        if not images or images[-1] != image:
            images.append(image)

    def close(self) -> None:
        os.close(self._fd)


def film_of_a_pack(path: Path) -> tuple[Film, list[Any]]:
    """Pack a log while another instance commits; return the film, and all states there were."""
    with open_at(path) as database, open_at(path, sync=False) as other:
        database.set_root(PersistentDict(a=item(), b=item()))
        database.transaction_manager.commit()
        for number in range(1, 6):
            change(database, "a", number, KINDS[number])
        checkout(database.root)
        del database.root["b"]
        database.transaction_manager.commit()
        states = [content(database)]
        film = Film(path)
        camera = Camera(film.look)

        def commit_meanwhile(*_: object) -> None:
            if len(states) < 4:
                with tracing(None):
                    assert change(other, "a", 100 + len(states), "two steps")
                    states.append(content(other))

        with tracing(camera):
            database.pack(progress=commit_meanwhile)
            change(database, "a", 200, "plain")
        states.append(content(database))
        for number in (201, 202):
            change(database, "a", number, "large")
        film.look()
        states.append(content(database))
        film.close()
    return film, states


def test_a_copy_begun_at_any_moment_of_a_pack_is_the_old_file_or_the_new_one(
    tmp_path: Path,
) -> None:
    """A tool has one file open from its start to its end, whatever the path leads to by then."""
    film, expected = film_of_a_pack(tmp_path / "data.log")
    copy = tmp_path / "copy.log"
    assert len(film.by_inode) == 2
    assert word_in(film.opened[-1], STATE) == REPLACED

    for images in (film.opened, *film.by_inode.values()):
        for first, page in enumerate(images):
            for later in images[first:]:
                image = page[:PAGE_SIZE] + later[PAGE_SIZE:]
                copy.write_bytes(image)
                with open_at(copy, read_only=True) as database:
                    assert content(database) in expected
                    assert list(database.changes(since=database.tid)) == []
                assert copy.read_bytes() == image
                is_whole(copy)

    *_, packed = film.by_inode.values()
    for page in film.opened:  # What is appended later is of the packed log, and fits nowhere.
        copy.write_bytes(page + packed[-1][len(page) :])
        with open_at(copy, read_only=True) as database:
            assert content(database) in expected
        is_whole(copy)


# -- real tools and real writers ------------------------------------------------------------

SLOTS = 4


def write_on(path: Path, slot: int, acknowledged: mmap.mmap) -> None:
    """Run transactions of all kinds until told to stop; acknowledge what has returned."""
    chance = random.Random(slot)
    key = f"writer {slot}"
    with open_at(path, sync=slot % 2 == 0) as database:
        database.storage._writing.writer.save_after_entries = 30
        words = memoryview(acknowledged).cast("Q")
        number = 0
        while not words[SLOTS]:
            number += 1
            kind = chance.choice(KINDS)
            for attempt in database.transaction_manager.attempts(100):
                with attempt:
                    if change(database, key, number, kind):
                        words[slot] = number
                        words[SLOTS + 1 + slot] += 1
        words.release()


@contextlib.contextmanager
def writers(path: Path) -> Iterator[Callable[[], list[int]]]:
    """Let processes write; give a function for what they have acknowledged by now.

    It waits until each of them has got on since it was called last.
    """
    with open_at(path) as database:
        database.set_root(PersistentDict({f"writer {slot}": item() for slot in range(SLOTS)}))
        database.transaction_manager.commit()
    acknowledged = mmap.mmap(-1, 4096)
    words = memoryview(acknowledged).cast("Q")
    running = [
        fork.Process(target=write_on, args=(path, slot, acknowledged)) for slot in range(SLOTS)
    ]
    for process in running:
        process.start()
    before = [0] * SLOTS

    def now() -> list[int]:
        while any(words[SLOTS + 1 + slot] < before[slot] + 2 for slot in range(SLOTS)):
            assert all(process.is_alive() for process in running)
            os.sched_yield()
        before[:] = words[SLOTS + 1 : 2 * SLOTS + 1]
        return list(words[:SLOTS])

    try:
        yield now
    finally:
        words[SLOTS] = 1
        for process in running:
            process.join(WAIT_SECONDS)
        codes = [process.exitcode for process in running]
        words.release()
        acknowledged.close()
    assert codes == [0] * SLOTS


def succeed(*args: object) -> None:
    run(list(map(str, args)), check=True, capture_output=True, timeout=WAIT_SECONDS)


def dd(size: int) -> Callable[[Path, Path], None]:
    return lambda path, copy: succeed("dd", f"if={path}", f"of={copy}", f"bs={size}")


def append(path: Path, copy: Path) -> None:
    """Append what the copy lacks, and look at nothing else: what ``rsync --append`` does."""
    with path.open("rb", buffering=0) as source, copy.open("ab", buffering=0) as target:
        source.seek(target.tell())
        while block := source.read(10_001):
            target.write(block)


def rsync(*options: str) -> Callable[[Path, Path], bool]:
    """Return a tool that tells whether it has done it: it notices when what it reads changes.

    It asks for the size first; what is committed before it reads is appended then.
    """

    def copy_file(path: Path, copy: Path) -> bool:
        command = ["rsync", *options, str(path), str(copy)]
        result = run(command, capture_output=True, timeout=WAIT_SECONDS)
        assert result.returncode in (0, 23)
        append(path, copy)
        return result.returncode == 0

    return copy_file


TOOLS: dict[str, Callable[[Path, Path], object]] = {
    "cp": lambda path, copy: succeed("cp", path, copy),
    "dd 777": dd(777),
    "dd 65537": dd(65537),
    "shutil": shutil.copyfile,
    "append": append,
    "rsync": rsync(),
    "rsync --inplace": rsync("--inplace"),
    "rsync --append": rsync("--append"),
}
COPIES = 6


def shows(copy: Path, least: list[int]) -> None:
    """The copy is a state with all that was acknowledged; a check passes, and it goes on."""
    with open_at(copy, read_only=True) as database:
        found = content(database)
        assert found is not None
        assert all(found[f"writer {slot}"] >= least[slot] for slot in range(SLOTS))
    is_whole(copy)


def history(path: Path) -> list[tuple[int, str, tuple[int, ...]]]:
    with open_at(path, read_only=True) as database:
        return [
            (each.tid, each.description, each.oids)
            for each in database.transactions()
            if not each.failed
        ]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_copy_by_a_tool_while_processes_write_is_a_state_that_was(
    path: Path, tmp_path: Path, tool: str
) -> None:
    command = tool.split(maxsplit=1)[0]
    if command not in {"shutil", "append"} and shutil.which(command) is None:
        pytest.skip(f"there is no {command} here; the others read in the same way")
    begun = []
    with writers(path) as acknowledged:
        for number in range(COPIES):
            least = acknowledged()
            copy = tmp_path / f"copy-{number}"
            if "append" in tool or "rsync" in tool:  # Another copy is there already.
                shutil.copyfile(path, copy)
                later = acknowledged()
            done = TOOLS[tool](path, copy)
            if "rsync" in tool and "append" not in tool and done:
                least = later  # The page, too, is of the second time.
            begun.append((copy, least))

    whole = history(path)
    for copy, least in begun:
        found = history(copy)
        assert found == whole[: len(found)]
        shows(copy, least)


def test_a_copy_while_the_log_is_packed_again_and_again_is_a_state_that_was(
    path: Path, tmp_path: Path
) -> None:
    begun = []
    with writers(path) as acknowledged, open_at(path) as database:
        packs = 0
        for number in range(COPIES):
            least = acknowledged()
            copy = tmp_path / f"copy-{number}"
            process = start(
                ["dd", f"if={path}", f"of={copy}", "bs=777"], stderr=subprocess.DEVNULL
            )
            while process.poll() is None or packs <= number:
                packs += database.pack().packed
            assert process.returncode == 0
            begun.append((copy, least))

    for copy, least in begun:
        shows(copy, least)
