"""Streams: from whatever source, read by every thread at its own position."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import os
import pickle
import random
import shutil
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import transaction

from dobbin_like import (
    Database,
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentStream,
    TransactionLog,
    checkout,
)
from dobbin_like.exc import (
    ClassNotSupported,
    ClosedError,
    NoSuchAttributeError,
    ReadOnlyError,
)
from tests.helpers.amount import LONG
from tests.helpers.processes import python_path, run
from tests.helpers.steps import Steps, in_thread

CHUNK = 64 * 1024
CONTENT = bytes(range(256)) * 700  # Not a whole number of chunks.


def pickled(value):
    return pickle.loads(pickle.dumps(value))


class Folder(Persistent):
    file = None

    def __init__(self, file=None):
        if file is not None:
            self.file = file


class Refusing:
    """Another data manager, which votes no."""

    def __init__(self):
        self.transaction_manager = transaction.manager

    def sortKey(self):  # noqa: N802
        return "~~~"

    def tpc_vote(self, _transaction):
        raise ValueError("no")

    def tpc_begin(self, _transaction): ...

    commit = tpc_abort = tpc_finish = abort = tpc_begin


class Pieces(io.RawIOBase):
    """A source that gives its bytes piece by piece and can't seek."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self.pieces:
            return 0
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.fixture
def store(database):
    def store(source):
        folder = Folder(PersistentFile(source))
        database.set_root(folder)
        transaction.commit()
        return folder.file

    return store


def read_all(stream):
    stream.open()
    try:
        return stream.read()
    finally:
        stream.close()


# -- sources ---------------------------------------------------------------------


def test_the_very_same_object_becomes_a_stream(database, again):
    file = PersistentFile(io.BytesIO(CONTENT))
    folder = Folder(file)
    database.set_root(folder)
    transaction.commit()

    assert folder.file is file
    assert type(file) is PersistentStream
    assert isinstance(file, PersistentStream)
    assert file._p_oid == 1
    assert len(database) == 2
    assert read_all(file) == CONTENT
    assert read_all(again().root.file) == CONTENT
    assert type(again().root.file).__name__ == "PersistentStream"


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_streams_of_every_size_come_back(store, again, size):
    content = os.urandom(size)

    stream = store(io.BytesIO(content))

    assert read_all(stream) == content
    assert b"".join(stream) == content
    assert b"".join(again().root.file) == content


def test_what_lies_before_the_position_is_not_stored(store):
    source = io.BytesIO(b"head and body")
    source.seek(9)

    stream = store(source)

    assert read_all(stream) == b"body"
    assert not source.closed


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_file_is_stored_from_its_position(store, tmp_path, buffering):
    (tmp_path / "source").write_bytes(b"head " + CONTENT)
    with (tmp_path / "source").open("rb", buffering=buffering) as source:
        assert source.read(5) == b"head "

        stream = store(source)

    assert read_all(stream) == CONTENT


def test_a_pipe_is_stored_to_its_end(store):
    reading, writing = os.pipe()
    steps = Steps()

    @steps.thread
    def writer():
        with os.fdopen(writing, "wb") as sink:
            sink.write(CONTENT)

    with os.fdopen(reading, "rb") as source:
        stream = store(source)
    steps.join()

    assert read_all(stream) == CONTENT


@pytest.fixture
def looking(storage):
    class Looking(Pieces):
        held = None

        def readinto(self, buffer):
            self.held = storage.held
            return super().readinto(buffer)

    return Looking(b"ab", b"c")


def test_a_slow_source_is_read_before_the_commit_lock_is_taken(store, looking):
    assert read_all(store(looking)) == b"abc"
    assert looking.held is False


@pytest.mark.parametrize("made", [PersistentDict, PersistentList])
def test_so_is_one_that_a_large_collection_gets(database, looking, made):
    content = [None] * 1000
    root = made(enumerate(content) if made is PersistentDict else content)
    database.set_root(root)
    transaction.commit()
    checkout(root)
    file = PersistentFile(looking)
    if made is PersistentDict:
        root["file"] = file
    else:
        root.append(file)
    transaction.commit()

    assert read_all(file) == b"abc"
    assert looking.held is False


COMMIT_AT_THE_END = """
import atexit, os, sys, transaction
from dobbin_like import Database, PersistentDict, PersistentFile, checkout

def put(**items):
    checkout(database.root)
    database.root.update(items)
    transaction.commit()

database = Database(sys.argv[1])
database.set_root(PersistentDict())
transaction.commit()
reading, writing = os.pipe()
os.write(writing, b"piped")
os.close(writing)
with os.fdopen(reading, "rb") as source:
    file = PersistentFile(source)
    if sys.argv[2] == "commit":
        atexit.register(lambda: put(file=file))
    try:
        put(file=file, refused=len)
    except TypeError:
        transaction.abort()
"""


@pytest.mark.parametrize("last", ["commit", "nothing"])
def test_what_was_spooled_is_there_until_the_last_moment_of_a_program(tmp_path, last):
    path = tmp_path / "data.log"
    program = [sys.executable, "-X", "dev", "-c", COMMIT_AT_THE_END, path, last]

    ended = run(program, capture_output=True, text=True, env=python_path())

    assert (ended.returncode, ended.stderr) == (0, "")
    with Database(path) as database:
        found = database.root.get("file")
        assert (found and read_all(found)) == (b"piped" if last == "commit" else None)


def test_a_decompressor_is_stored_decompressed(store, tmp_path):
    with gzip.open(tmp_path / "source.gz", "wb") as sink:
        sink.write(CONTENT)
    with gzip.open(tmp_path / "source.gz") as source:
        source.read(10)

        stream = store(source)

    assert read_all(stream) == CONTENT[10:]


def test_a_source_that_gives_little_at_a_time_is_stored_whole(store):
    stream = store(Pieces(b"a", b"bc", b"d" * 100))

    assert read_all(stream) == b"abc" + b"d" * 100


@pytest.mark.parametrize("source", [io.StringIO("text"), "path", b"bytes", None, object()])
def test_what_is_no_open_binary_stream_is_refused_at_once(source):
    with pytest.raises(TypeError, match="expected an open binary stream"):
        PersistentFile(source)


@pytest.mark.parametrize(
    ("source", "instead"),
    [
        ("path", r"open\(path, 'rb'\)"),
        (Path("path"), r"open\(path, 'rb'\)"),
        (b"bytes", r"io.BytesIO\(data\)"),
        (io.StringIO("text"), "which is of text"),
    ],
)
def test_the_error_for_what_is_no_binary_stream_says_what_to_wrap(source, instead):
    with pytest.raises(TypeError, match=instead):
        PersistentFile(source)


def test_a_source_that_can_not_be_read_is_refused_at_once(tmp_path):
    source = (tmp_path / "written").open("wb")
    with source, pytest.raises(ValueError, match="not open for reading"):
        PersistentFile(source)
    with pytest.raises(ValueError, match="BufferedWriter of a PersistentFile is closed"):
        PersistentFile(source)


def test_a_file_that_is_not_stored_yet_says_when_it_can_be_read():
    file = PersistentFile(io.BytesIO(b"x"))

    with pytest.raises(NoSuchAttributeError, match="PersistentFile has no open: it is stored"):
        file.open()
    assert not hasattr(file, "read")
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        file.other()


@pytest.mark.parametrize("kind", [io.BytesIO, lambda data: io.BufferedReader(io.BytesIO(data))])
def test_a_closed_source_is_an_error_and_nothing_is_written(database, storage, kind):
    source = kind(b"x")
    database.set_root(Folder(PersistentFile(source)))
    source.close()

    with pytest.raises(ValueError, match="is closed: its bytes are stored by the commit"):
        transaction.commit()
    transaction.abort()

    assert database.root is None
    assert len(database) == 0


@pytest.mark.parametrize("error", [OSError("lost"), KeyboardInterrupt()])
def test_a_source_that_breaks_is_an_error_and_nothing_is_written(database, storage, again, error):
    folder = Folder()
    database.set_root(folder)
    transaction.commit()
    checkout(folder)
    folder.file = PersistentFile(Pieces(b"abc", error))

    with pytest.raises(type(error)):
        transaction.commit()
    transaction.abort()

    assert folder.file is None
    assert len(database) == 1
    assert len(again()) == 1
    checkout(folder)
    folder.file = PersistentFile(io.BytesIO(b"abc"))
    transaction.commit()
    assert read_all(again().root.file) == b"abc"


@pytest.mark.parametrize("make", [io.BytesIO, Pieces])
def test_a_file_of_a_failed_transaction_can_be_stored_with_the_next(database, again, make):
    file = PersistentFile(make(b"hello"))
    folder = Folder()
    database.set_root(folder)
    transaction.commit()
    checkout(folder)
    folder.file = file
    transaction.get().join(Refusing())
    with pytest.raises(ValueError, match="no"):
        transaction.commit()
    transaction.abort()
    assert type(file) is PersistentFile

    checkout(folder)
    folder.file = file
    transaction.commit()

    assert read_all(file) == b"hello"
    assert read_all(again().root.file) == b"hello"


def test_one_file_in_two_places_is_stored_once(database, again):
    file = PersistentFile(io.BytesIO(b"once"))
    folder = Folder(file)
    checkout(folder)
    folder.more = [file, {"k": file}]
    database.set_root(folder)
    transaction.commit()

    root = again().root
    assert root.more[0] is root.file is root.more[1]["k"]
    assert read_all(root.file) == b"once"
    assert len(database) == 2


def test_a_file_can_be_the_root(database, again):
    file = PersistentFile(io.BytesIO(b"root"))
    database.set_root(file)
    transaction.commit()

    assert read_all(database.root) == b"root"
    assert read_all(again().root) == b"root"


def test_a_file_made_by_another_thread_is_stored(database):
    file = in_thread(lambda: PersistentFile(Pieces(b"ab", b"c")))
    database.set_root(Folder(file))
    transaction.commit()

    assert read_all(file) == b"abc"


def test_several_files_in_one_transaction_do_not_mix(database, again):
    folder = Folder()
    checkout(folder)
    folder.files = [PersistentFile(io.BytesIO(bytes([n]) * n * 1000)) for n in range(20)]
    database.set_root(folder)
    transaction.commit()

    for n, stream in enumerate(again().root.files):
        assert read_all(stream) == bytes([n]) * n * 1000


def test_attributes_beside_the_stream_are_stored(database, again):
    file = PersistentFile(io.BytesIO(b"x"))
    checkout(file)
    file.name = "a.txt"
    file.tags = [1]
    database.set_root(file)
    transaction.commit()
    with pytest.raises(ReadOnlyError):
        file.name = "b.txt"

    checkout(file)
    file.name = "b.txt"
    file.tags.append(2)
    transaction.commit()

    root = again().root
    assert (root.name, root.tags) == ("b.txt", [1, 2])
    assert read_all(root) == b"x"
    assert read_all(file) == b"x"


def test_a_stream_can_be_replaced(database, again):
    folder = Folder(PersistentFile(io.BytesIO(b"old")))
    database.set_root(folder)
    transaction.commit()
    old = folder.file
    checkout(folder)
    folder.file = PersistentFile(io.BytesIO(b"new"))
    transaction.commit()

    assert read_all(folder.file) == b"new"
    assert read_all(old) == b"old"
    assert read_all(again().root.file) == b"new"


# -- reading ---------------------------------------------------------------------


def test_read_seek_and_tell_behave_as_those_of_a_file(store):
    stream = store(io.BytesIO(CONTENT))
    beside = io.BytesIO(CONTENT)
    stream.open()

    for step in [
        lambda s: s.read(10),
        lambda s: s.tell(),
        lambda s: s.read(0),
        lambda s: s.seek(1000),
        lambda s: s.read(5),
        lambda s: s.seek(-5, 1),
        lambda s: s.read(5),
        lambda s: s.seek(-20, 2),
        lambda s: s.read(),
        lambda s: s.read(),
        lambda s: s.read(5),
        lambda s: s.seek(10, 2),
        lambda s: s.read(),
        lambda s: s.tell(),
        lambda s: s.seek(0),
        lambda s: s.read(None) == CONTENT,
        lambda s: s.seek(5) and s.read(-1) == CONTENT[5:],
    ]:
        assert step(stream) == step(beside)
    with pytest.raises(ValueError, match="before the start"):
        stream.seek(-1)
    with pytest.raises(ValueError, match="whence"):
        stream.seek(0, 7)
    assert stream.tell() == beside.tell()


def test_a_stream_is_closed_until_it_is_opened(store):
    stream = store(io.BytesIO(b"abc"))

    assert stream.closed
    for use in (stream.read, stream.tell, lambda: stream.seek(0)):
        with pytest.raises(ClosedError):
            use()
    stream.open()
    assert not stream.closed
    assert stream.read(1) == b"a"
    stream.open()
    assert stream.read(1) == b"a"
    stream.close()
    stream.close()
    assert stream.closed


def test_each_thread_has_its_own_position(store):
    stream = store(io.BytesIO(b"abcdef"))
    steps = Steps()
    stream.open()

    @steps.thread
    def other():
        with steps[1]:
            assert stream.closed
            with pytest.raises(ClosedError):
                stream.read()
            stream.open()
            assert stream.read(2) == b"ab"
        with steps[3]:
            assert stream.read(2) == b"cd"
            stream.close()

    with steps[0]:
        assert stream.read(1) == b"a"
    with steps[2]:
        assert stream.read(1) == b"b"
    with steps[4]:
        assert stream.tell() == 2
        assert stream.read() == b"cdef"
    steps.join()


def test_iteration_is_independent_of_the_position_and_of_other_iterations(store):
    stream = store(io.BytesIO(CONTENT))
    one, two = iter(stream), iter(stream)
    first = next(one)
    stream.open()
    stream.seek(5)

    assert next(two) == first
    assert stream.read(3) == CONTENT[5:8]
    assert first + b"".join(one) == CONTENT
    assert stream.tell() == 8
    stream.close()
    assert b"".join(stream) == CONTENT
    assert all(0 < len(chunk) <= CHUNK for chunk in stream)


def test_a_position_outlives_a_transaction_and_a_checkout(store):
    stream = store(io.BytesIO(b"abcdef"))
    stream.open()
    stream.read(2)
    checkout(stream)
    stream.note = "x"
    assert stream.read(1) == b"c"
    transaction.commit()

    assert stream.read() == b"def"


def test_many_threads_read_one_stream_at_once(store):
    stream = store(io.BytesIO(CONTENT))
    steps = Steps()
    barrier = threading.Barrier(4, timeout=30)
    for number in range(4):

        @steps.thread
        def reader(number=number):
            stream.open()
            barrier.wait()
            for start in range(number, len(CONTENT), 9001):
                stream.seek(start)
                assert stream.read(1000) == CONTENT[start : start + 1000]

    steps.join()


def test_a_stream_is_read_from_a_ghost(store, again):
    store(io.BytesIO(b"abc"))

    stream = again().root.file
    assert type(stream) is type(stream)._p_faces.ghost
    assert list(stream) == [b"abc"]


def test_reading_after_close_of_the_database_is_a_clear_error(path):
    with Database(TransactionLog(path, sync=False)) as database:
        stream = PersistentFile(io.BytesIO(b"abc"))
        database.set_root(stream)
        transaction.commit()
        stream.open()

    with pytest.raises(ClosedError):
        stream.read()
    with pytest.raises(ClosedError):
        list(stream)


def test_a_stream_is_not_made_by_hand_and_not_derived_from():
    with pytest.raises(TypeError, match="commit a PersistentFile"):
        PersistentStream()
    with pytest.raises(ClassNotSupported, match="becomes a PersistentStream"):

        class Derived(PersistentFile):
            pass


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("is_stored", [False, True])
def test_a_copy_or_a_pickle_has_the_bytes(path, make, is_stored):
    source = io.BytesIO(b"-abc")
    source.seek(1)
    folder = Folder(PersistentFile(source))
    with Database(TransactionLog(path, sync=False)) as db:
        if is_stored:
            db.set_root(PersistentDict(folder=folder))
            transaction.commit()
        made = make(folder.file)
        twice = make(made)
        if not is_stored:
            db.set_root(PersistentDict(folder=folder))
        checkout(db.root)
        db.root.update(made=made, twice=twice)
        transaction.commit()
        for stream in (folder.file, made, twice):
            assert type(stream) is PersistentStream
            assert b"".join(stream) == b"abc"


def test_a_file_that_can_be_read_once_is_not_copied_before_it_is_stored():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    file = PersistentFile(Pipe(b"abc"))
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(
            TypeError, match=r"a Pipe, which can't be read again.*commit it before"
        ):
            make(file)


# -- memory ---------------------------------------------------------------------------

MEASURE = """
import resource, sys, zlib
import transaction
from dobbin_like import Database, PersistentFile, TransactionLog

class Source:
    block = bytes(range(256)) * 4096
    def __init__(self, size):
        self.left, self.sum = size, 0
    def read(self, size=-1):
        assert 0 < size <= 16 * 2**20, "asks for too much at a time"
        data = (b"%16d" % self.left + self.block)[: min(size, self.left, 2**20)]
        self.left -= len(data)
        self.sum = zlib.crc32(data, self.sum)
        return data

path, mebibytes, seekable = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "file"
stream = source = Source(mebibytes * 2**20)
if seekable:
    with open(path + ".source", "wb") as sink:
        while data := source.read(2**20):
            sink.write(data)
    stream = open(path + ".source", "rb")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Database(TransactionLog(path, sync=False)) as database:
    database.set_root(PersistentFile(stream))
    transaction.commit()
with Database(path) as database:
    found = size = 0
    for chunk in database.root:
        found = zlib.crc32(chunk, found)
        size += len(chunk)
    assert (size, found) == (mebibytes * 2**20, source.sum)
    database.root.open()
    database.root.seek(-(2**20), 2)
    assert len(database.root.read()) == 2**20
stream is source or stream.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak_mebibytes(path, mebibytes, kind):
    command = [sys.executable, "-c", MEASURE, str(path), str(mebibytes), kind]
    result = run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return int(result.stdout) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "source"])
def test_a_stream_of_64_mebibytes_needs_no_memory_of_its_size(path, kind):
    assert peak_mebibytes(path, 64, kind) < 32


@pytest.mark.slow
def test_a_long_stream_is_stored_and_read_with_little_memory(path):
    if os.environ.get("HYPOTHESIS_PROFILE") == "quick":
        pytest.skip("the quick profile leaves it out")
    try:
        assert peak_mebibytes(path, 1024 if LONG else 256, "source") < 100
    finally:
        path.unlink(missing_ok=True)


# -- as a file ------------------------------------------------------------------------------


def test_a_stream_is_a_file_for_others(store):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "hello\nworld\n")
    stream = store(io.BytesIO(packed.getvalue()))

    with stream.open() as file, zipfile.ZipFile(file) as archive:
        assert archive.read("a.txt") == b"hello\nworld\n"
    with stream.open() as file:
        copied = io.BytesIO()
        shutil.copyfileobj(file, copied)
    assert copied.getvalue() == packed.getvalue()


def test_who_takes_a_stream_for_a_file_is_told_to_open_it(store):
    stream = store(io.BytesIO(b"bytes"))
    stream.open()

    with pytest.raises(NoSuchAttributeError, match=r"no readable: open\(\) returns a file"):
        io.TextIOWrapper(stream)
    assert not hasattr(stream, "size")
    assert stream.open().size == 5


def test_a_stream_is_a_file_of_lines(store):
    stream = store(io.BytesIO(b"name,n\nAda,1\n"))

    with io.TextIOWrapper(stream.open(), newline="") as text:
        assert list(csv.reader(text)) == [["name", "n"], ["Ada", "1"]]
    with stream.open() as file:
        assert file.readline() == b"name,n\n"
        assert file.readlines() == [b"Ada,1\n"]


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 1])
def test_a_file_of_a_stream_does_what_a_real_one_does(store, tmp_path, size):
    data = random.Random(size).randbytes(size)
    path = tmp_path / "file"
    path.write_bytes(data)

    def tell(file):
        buffer = bytearray(10)
        told = [file.readable(), file.seekable(), file.writable(), file.tell()]
        told += [file.read(3), file.readinto(buffer), bytes(buffer), file.peek(1)[:1], file.tell()]
        told += [file.seek(-1, 2) if size else 0, file.read(), file.read(), file.read1()]
        told += [file.seek(size + 5), file.read(1), file.tell(), file.seek(0), file.read()]
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.read()
        return told, file.closed

    stream = store(io.BytesIO(data))
    assert stream.open().size == size
    with path.open("rb") as real:
        assert tell(stream.open()) == tell(real)
    with stream.open() as file, pytest.raises(ValueError, match="before the start"):
        file.seek(-1)


def test_two_files_of_one_stream_have_positions_of_their_own(store):
    stream = store(io.BytesIO(b"0123456789"))
    with stream.open() as first, stream.open() as second:
        first.seek(5)
        assert (second.read(2), first.read(2)) == (b"01", b"56")
        stream.seek(9)
        assert (stream.read(), second.read(1)) == (b"9", b"2")


def test_a_file_of_a_stream_survives_a_pack_and_not_its_database(store, database):
    stream = store(io.BytesIO(b"0123456789" * CHUNK))
    file = stream.open()
    assert file.read(1) == b"0"
    database.pack()
    file.seek(5 * CHUNK + 1)
    assert file.read(1) == b"1"
    database.close()
    file.seek(0)
    with pytest.raises(ClosedError):
        file.read()
    file.close()


# -- sources that are stored again ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "file", "gzip"])
def test_a_source_that_is_wrapped_again_is_stored_again(database, tmp_path, kind):
    path = tmp_path / "source"
    path.write_bytes(gzip.compress(b"precious") if kind == "gzip" else b"precious")
    openers = {"memory": lambda p: io.BytesIO(p.read_bytes()), "file": open, "gzip": gzip.open}
    with openers[kind](path, *(["rb"] if kind == "file" else [])) as source:
        source.seek(3)
        for _ in range(2):
            folder = Folder(PersistentFile(source))
            if database.root is None:
                database.set_root(folder)
            else:
                checkout(database.root)
                database.root.file = folder.file
            transaction.commit()
            assert read_all(database.root.file) == b"cious"
            assert source.tell() == 3


def test_a_source_that_was_used_up_is_refused(database, storage):
    source = Pieces(b"precious")
    database.set_root(Folder(PersistentFile(source)))
    transaction.commit()
    with pytest.raises(ValueError, match="read to its end by another PersistentFile"):
        PersistentFile(source)


def test_a_source_that_does_not_block_is_not_cut(database):
    """``read()`` returns None when there is nothing yet, which is not the end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"first ")
    with os.fdopen(reading, "rb", buffering=0) as source:
        database.set_root(PersistentDict(file=PersistentFile(source)))
        with pytest.raises(BlockingIOError, match="nothing to read yet; let it block"):
            transaction.commit()
        transaction.abort()
    os.close(writing)
