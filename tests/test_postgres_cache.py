"""The local cache of a log in PostgreSQL: trusted in nothing that the server does not say."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import transaction

import dobbin_like
from dobbin_like import PersistentDict, PersistentList, checkout
from dobbin_like.check import check_database
from dobbin_like.conformance import StorageTests
from dobbin_like.conformance.steps import catch_up, commit, data_of
from dobbin_like.exc import HistoryLostError, NotALogError, ServerUnavailableError
from dobbin_like.ids import Oid
from tests.helpers import processes
from tests.helpers.cutting_proxy import BEFORE, WAIT_SECONDS
from tests.helpers.interrupts import each_step, handled_at_step, interrupted_at_step
from tests.helpers.log_files import open_files
from tests.helpers.postgres_logs import pack_as_another, take_back
from tests.helpers.postgres_server import missing, new_schema, serials

if missing():
    pytest.skip(missing(), allow_module_level=True)

import psycopg

from dobbin_like.storage.postgres import PostgresLog
from dobbin_like.storages.postgres import reading
from dobbin_like.storages.postgres.cache import update
from dobbin_like.storages.postgres.cache.cache_file import Cache

MANY = 1_000_000


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "shop.cache"


@pytest.fixture
def opened(server, proxy, schema, cache):
    """Open the log through the proxy, with the cache."""
    with contextlib.ExitStack() as ends:

        def opened(path=cache, **options):
            options = {"schema": schema, "prepare": False} | options
            return ends.enter_context(PostgresLog(server.dsn(proxy.port), cache=path, **options))

        yield opened


@pytest.fixture
def states(server, schema):
    """A log with some transactions, and what each object is at the end."""
    with PostgresLog(server.dsn(), schema=schema) as log:
        for count in range(10):
            commit(log, {0: b"root %d" % count, count + 1: bytes([count]) * 1000})
        return {oid: data_of(log, oid) for oid in range(11)}


def messages(proxy, act):
    """Return how many messages are sent while *act* runs, and what it returns."""
    proxy.cut_at(MANY, BEFORE)
    result = act()
    return MANY - proxy.cut_at(0, BEFORE), result


def read(log, oids=range(11)):
    return {oid: data_of(log, oid) for oid in oids}


def assert_loads(proxy, log, states, count):
    """Check that all is read right, and with so many round trips."""
    assert messages(proxy, lambda: read(log, states)) == (count, states)


class TestWithACache(StorageTests):
    """What a cache must not change: instances share one, and are opened at any moment."""

    @pytest.fixture(autouse=True)
    def _server(self, server, tmp_path):
        self.dsn, self.cache = server.dsn(), tmp_path / "cache"

    def make(self):
        self.cache = self.cache.with_suffix(f".{next(serials)}")
        return PostgresLog(self.dsn, schema=new_schema(), cache=self.cache)

    def again(self, storage, **options):
        schema = storage._options.schema
        return PostgresLog(self.dsn, schema=schema, cache=storage._options.cache, **options)

    def pack(self, storage):
        pack_as_another(storage)


# -- what it is for ------------------------------------------------------------------------


def test_what_is_in_the_cache_is_not_asked_for(opened, proxy, states):
    first = opened()
    assert_loads(proxy, first, states, 0)
    first.close()
    assert_loads(proxy, opened(), states, 0)
    assert_loads(proxy, opened(None), states, 11)


def test_only_the_rest_is_asked_for(opened, proxy, states, server, schema, cache):
    opened().close()
    size = cache.stat().st_size
    with PostgresLog(server.dsn(), schema=schema) as other:
        commit(other, {1: b"new", 11: b"eleven"})
    second = opened()

    assert_loads(proxy, second, states | {1: b"new", 11: b"eleven"}, 0)
    assert 0 < cache.stat().st_size - size < 300
    catch_up(second)
    assert messages(proxy, second.has_news)[0] == 1


def test_what_was_committed_since_is_asked_for(opened, proxy, states, server, schema):
    log = opened()
    before = log.tid
    with PostgresLog(server.dsn(), schema=schema) as other:
        commit(other, {1: b"new", 11: b"eleven"})
        commit(log, {2: b"mine"})
        states |= {1: b"new", 11: b"eleven", 2: b"mine"}
        catch_up(log)
    assert_loads(proxy, log, states, 3)
    assert log.load(Oid(1), before).data == bytes(1000)
    assert log.load(Oid(0), before).data == b"root 9"
    first = next(log.transactions())
    assert log.load(Oid(0), first.tid).data == b"root 0"
    assert log.load(Oid(5), first.tid) is None


def test_what_is_cached_is_not_read_ahead(opened, proxy, states):
    log = opened()
    commit(log, {3: b"new"})
    oids = [Oid(oid) for oid in states]
    assert messages(proxy, lambda: log.read_ahead(oids))[0] == 1
    assert set(log._ahead._versions) == {3}
    assert messages(proxy, lambda: log.read_ahead([Oid(1), Oid(2)]))[0] == 0


def test_a_database_with_a_cache(server, schema, cache):
    uri = f"{server.uri(schema)}&cache={cache}"
    with dobbin_like.open(uri) as database:
        database.run(lambda: database.set_root(PersistentDict(n=0, parts=PersistentList())))
        for number in range(20):
            with database.transaction() as root:
                checkout(root["parts"])
                root["parts"].append(PersistentDict(number=number))
    with dobbin_like.open(uri) as database:
        assert [part["number"] for part in database.root["parts"]] == list(range(20))
        assert database.preload() == 22
        check_database(database).raise_if_bad()
        data = pickle.dumps(database.storage)
    with pickle.loads(data) as log:
        assert log._options.cache == str(cache)


def test_much_is_copied_in_blocks(opened, proxy, states, monkeypatch, cache):
    monkeypatch.setattr(update, "_BLOCK_BYTES", 2500)
    monkeypatch.setattr(update, "_ROWS", 3)
    assert_loads(proxy, opened(), states, 0)
    assert_loads(proxy, opened(), states, 0)
    assert cache.read_bytes().count(b"BLCK") > 5


# -- what does not fit -----------------------------------------------------------------------


def test_the_cache_of_another_log_is_discarded(opened, proxy, states, schema, caplog):
    with opened(schema="other") as other:
        commit(other, {0: b"other"})
    opened(schema="other").close()
    assert_loads(proxy, opened(), states, 0)


def test_a_cache_that_is_longer_than_the_log_is_discarded(opened, proxy, server, schema, states):
    """After a failover that has lost transactions, and others in their place."""
    opened().close()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for table, column in (("version", "tid"), ("log", "tid")):
            last = f"(select tid from {schema}.log where pos = 8)"
            connection.execute(f"delete from {schema}.{table} where {column} > {last}")
        connection.execute(f"update {schema}.log set next_oid = 11 where pos = 8")
    with opened() as log:
        found = states | {0: b"root 7"}
        assert len(log) == 8
        assert read(log, range(9)) == {oid: found[oid] for oid in range(9)}
        assert [log.load(Oid(oid)) for oid in (9, 10)] == [None, None]
    opened().close()
    with PostgresLog(server.dsn(), schema=schema) as other:
        tid = other.tid
        for count in (8, 9, 10):
            commit(other, {0: b"again %d" % count, 10: b"ten"})
        assert other.tid > tid
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"update {schema}.log set id = '\\x01' where pos = 8")
        connection.execute(f"update {schema}.log set prev = '\\x01' where pos = 9")
        connection.execute(f"update {schema}.version set data = 'changed' where oid = 8")
    log = opened()
    assert read(log, (0, 8, 10)) == {0: b"again 10", 8: b"changed", 10: b"ten"}


def test_a_standby_that_lags_behind_is_not_given_what_it_does_not_have(
    opened, proxy, server, schema, states
):
    opened().close()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"delete from {schema}.log where pos = 10")
    log = opened(read_only=True)
    assert (len(log), log._cache.place.position) == (9, 9)


@pytest.mark.parametrize("may_lag", [False, True])
def test_a_server_that_lacks_the_end_of_the_log_does_not_complete_a_cache(
    opened, proxy, server, schema, states, monkeypatch, may_lag
):
    """The head was read from another server than the rest."""
    monkeypatch.setattr(update, "LEAST_SECONDS", 0.05)
    opened().close()
    with opened() as log, PostgresLog(server.dsn(), schema=schema) as other:
        commit(other, {0: b"new"})
        catch_up(log)
        take_back(server, schema, 10)
        cache = Cache(log._options.cache, bytes.fromhex(log.sort_key.partition(":")[2]))
        rest = log._lines, log._statements, log._head
        with pytest.raises(ServerUnavailableError if may_lag else HistoryLostError):
            update.bring_up_to_date(cache, *rest, may_lag=may_lag)
        assert cache.place.position == 10
        cache.close()


@pytest.mark.parametrize("version", [0, 2])
def test_a_cache_of_another_version_is_made_anew(opened, proxy, states, cache, version):
    opened().close()
    data = bytearray(cache.read_bytes())
    data[16] = version
    cache.write_bytes(data)
    assert_loads(proxy, opened(), states, 0)


def test_another_file_is_not_overwritten(opened, states, cache):
    cache.write_text("This is not a cache, but something of value.")
    with pytest.raises(NotALogError, match=r"shop\.cache"):
        opened()
    assert cache.read_text().startswith("This is")
    with pytest.raises(OSError, match="none"):
        opened(cache.parent / "none" / "cache")


def test_a_cache_that_is_cut_off_anywhere_is_continued(
    opened, proxy, states, cache, server, schema
):
    opened().close()
    with PostgresLog(server.dsn(), schema=schema) as other:
        commit(other, {1: b"new"})
        states |= {1: b"new"}
    opened().close()
    whole = cache.read_bytes()
    lengths = {0, 1, 16, 39, 40, 41, len(whole) - 1, len(whole)}
    for length in lengths | set(random.Random(1).sample(range(len(whole)), 12)):
        cache.write_bytes(whole[:length])
        with opened() as log:
            assert_loads(proxy, log, states, 0)
        assert cache.stat().st_size <= len(whole)


def test_a_flipped_bit_is_noticed(opened, proxy, states, cache):
    opened().close()
    whole = cache.read_bytes()
    chosen = random.Random(2)
    for at in (*range(16, 110, 7), *(chosen.randrange(16, len(whole)) for _ in range(40))):
        data = bytearray(whole)
        data[at] ^= 1 << chosen.randrange(8)
        cache.write_bytes(data)
        with opened() as log:
            assert read(log) == states, at
        with opened() as log:
            assert read(log) == states, at


def test_a_cache_with_a_damaged_state_is_given_up(opened, proxy, states, cache, caplog):
    opened().close()
    data = cache.read_bytes()
    cache.write_bytes(data.replace(bytes([5]) * 100, bytes([6]) * 100))
    log = opened()
    assert read(log) == states
    assert "it is damaged" in caplog.text
    assert not cache.exists()
    assert_loads(proxy, opened(), states, 0)
    assert cache.read_bytes() == data


def test_a_file_that_is_changed_while_it_is_used(opened, states, cache):
    """Somebody cuts it, or fills it with something else."""
    log = opened()
    size = cache.stat().st_size
    with cache.open("r+b") as file:
        file.truncate(3000)
        assert read(log) == states
    other = opened()
    with cache.open("r+b") as file:
        file.write(os.urandom(size))
    assert read(other) == states


def test_a_full_disk_leaves_a_cache_that_is_not_used(opened, states, monkeypatch, caplog):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
        log = opened()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "is not brought up to date" in caplog.text
    assert (log._cache.place.position, read(log)) == (0, states)


@pytest.mark.parametrize("there", ["nothing", "another log", "what was lost"])
def test_a_cache_that_can_not_be_made_anew_is_done_without(
    opened, proxy, states, server, schema, monkeypatch, caplog, there
):
    # A full disk kept the database from being opened.
    if there != "nothing":
        with opened(schema="other" if there == "another log" else schema) as log:
            commit(log, {0: b"other"})
        opened(schema=log._options.schema).close()
    if there == "what was lost":
        take_back(server, schema, 10)

    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        log = opened()
    assert "shop.cache is not made anew: [Errno 28]" in caplog.text
    assert_loads(proxy, log, states, len(states))
    assert_loads(proxy, opened(), states, 0)


def test_a_device_is_not_replaced(opened, states, cache):
    cache.symlink_to(os.devnull)
    with pytest.raises(NotALogError, match="not a cache"):
        opened()
    assert cache.is_symlink()


def test_a_cache_that_is_made_anew_is_where_its_link_leads(opened, states, cache, tmp_path):
    with opened(path=tmp_path / "elsewhere", schema="other") as log:
        commit(log, {0: b"other"})
    cache.symlink_to(tmp_path / "elsewhere")
    opened().close()
    assert cache.is_symlink()
    assert (tmp_path / "elsewhere").stat().st_size > 5000


# -- several processes -----------------------------------------------------------------------


def test_who_comes_while_another_one_copies_does_without(opened, proxy, states, cache):
    opened().close()
    held = os.open(cache, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    log = opened()
    assert_loads(proxy, log, states, 0)
    commit(log, {1: b"new"})
    assert_loads(proxy, opened(), states | {1: b"new"}, 1)
    with pytest.raises(NotALogError, match="another log"):
        opened(schema="another")
    os.close(held)
    assert_loads(proxy, opened(), states | {1: b"new"}, 0)


def test_an_instance_that_has_it_open_goes_on_when_it_is_replaced(
    opened, proxy, states, cache, server
):
    log = opened()
    for _ in range(2):
        with PostgresLog(server.dsn(), schema="another", cache=cache) as other:
            commit(other, dict.fromkeys(range(11), b"another"))
    assert_loads(proxy, log, states, 0)


def test_a_cache_that_another_process_brings_up_to_date_meanwhile_is_used(
    opened, proxy, states, server, schema, monkeypatch
):
    # It was discarded: it was up to a transaction behind the last one that was known.
    opened().close()

    def after_another(*args):
        monkeypatch.undo()
        with opened() as other:
            commit(other, {1: b"new"})
        opened().close()
        return Cache(*args)

    monkeypatch.setattr(reading, "Cache", after_another)
    assert_loads(proxy, opened(), states | {1: b"new"}, 0)


READER = """
import sys, time
import dobbin_like
until = time.monotonic() + float(sys.argv[2])
opened = 0
while time.monotonic() < until:
    with dobbin_like.open(sys.argv[1]) as database:
        root = database.root
        assert len({part["n"] for part in root["parts"]}) == 1
        opened += 1
print(opened)
"""


@pytest.mark.slow
def test_processes_that_share_a_cache_and_are_killed_read_what_is_committed(server, schema, cache):
    """All parts always have the same number, in whatever state they come from."""
    uri = f"{server.uri(schema)}&cache={cache}"
    with dobbin_like.open(server.uri(schema)) as database:
        parts = [PersistentDict(n=0, text="x" * 3000) for _ in range(50)]
        database.run(lambda: database.set_root(PersistentDict(parts=parts)))

        def start(seconds):
            return processes.start(
                [sys.executable, "-c", READER, uri, str(seconds)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=processes.python_path(),
            )

        readers = [start(6) for _ in range(2)]
        killed = start(60)
        ended = time.monotonic() + 6
        chosen = random.Random(3)
        number = 0
        while time.monotonic() < ended:
            number += 1
            with database.transaction():
                for part in parts:
                    checkout(part)
                    part["n"] = number
            if number % 10 == 0:
                time.sleep(chosen.uniform(0.2, 0.5))
                killed.kill()
                killed.communicate(timeout=WAIT_SECONDS)
                killed = start(60)
        killed.kill()
        killed.communicate(timeout=WAIT_SECONDS)
        for reader in readers:
            out, err = reader.communicate(timeout=60)
            assert (reader.returncode, err) == (0, b""), err
            assert int(out) > 0
    with dobbin_like.open(uri) as database:
        transaction.begin()
        assert {part["n"] for part in database.root["parts"]} == {number}
        check_database(database).raise_if_bad()


def test_a_forked_child_reads_on(opened, proxy, states):
    log = opened()
    assert processes.exit_code(processes.forked(lambda: _check(read(log) == states))) == 0
    assert_loads(proxy, log, states, 0)


def _check(is_right):
    assert is_right


def test_threads_read_it(opened, states):
    log = opened()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: read(log), range(40)):
            assert found == states


def test_a_log_that_is_only_read_may_have_one(opened, proxy, states):
    assert_loads(proxy, opened(read_only=True), states, 0)


def begun(path, store):
    """Return a descriptor of the cache of another log, locked as by who makes it."""
    with contextlib.closing(Cache(str(path), store)):
        pass
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_who_opens_a_cache_that_is_just_being_replaced_waits_for_it(tmp_path):
    # It was refused: "another process is using it for another log".
    path, new = tmp_path / "shop.cache", tmp_path / "new.cache"
    fd = begun(path, b"a" * 16)
    with contextlib.closing(Cache(str(new), b"b" * 16)), ThreadPoolExecutor(1) as pool:
        opened = pool.submit(Cache, str(path), b"b" * 16)
        time.sleep(0.1)
        assert not opened.done()
        new.replace(path)
        with contextlib.closing(opened.result(WAIT_SECONDS)) as cache:
            assert os.path.samestat(os.fstat(cache._fd), path.stat())
    os.close(fd)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["flock", "pwrite", "replace"])
def test_what_a_killed_process_has_left_of_a_new_cache_is_removed(tmp_path, monkeypatch, step):
    path = tmp_path / "shop.cache"
    of_others = [
        tmp_path / "shop.cache.notes.new",
        tmp_path / "shop.cache.b",
        tmp_path / "shop.cache.b.abcdefgh.new",
        tmp_path / "till.cache.abcdefgh.new",
    ]
    for other in of_others:
        other.touch()
    Cache(str(path), b"a" * 16).close()

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        patch.setattr(fcntl if step == "flock" else os, step, killed)
        if step == "flock":
            patch.setattr(Cache, "_lock", lambda self: setattr(self, "writable", True))
        with pytest.raises(Killed):
            Cache(str(path), b"b" * 16)
    [left] = {*tmp_path.iterdir()} - {path, *of_others}

    with left.open() as file, contextlib.ExitStack() as ends:
        fcntl.flock(file, fcntl.LOCK_EX)  # As one that is written.
        ends.enter_context(contextlib.closing(Cache(str(path), b"a" * 16)))
        assert left.exists()
    Cache(str(path), b"a" * 16).close()
    assert {*tmp_path.iterdir()} == {path, *of_others}


def test_an_interrupt_while_it_is_opened_loses_no_descriptor_and_leaves_nothing(tmp_path):
    # The lost descriptor had the lock, so that nobody could bring the cache up to date.
    gc.collect()
    path, before = tmp_path / "shop.cache", open_files()
    for step in each_step():
        Cache(str(path), b"a" * 16).close()
        came = interrupted_at_step(step, lambda: Cache(str(path), b"b" * 16).close())
        assert open_files() == before, step
        assert [*tmp_path.iterdir()] == [path], step
        if not came:
            break
    assert step > 30


def test_the_timeout_of_a_handler_is_not_taken_for_an_error_of_the_disk(tmp_path):
    """It was logged, and the cache done without."""
    path = tmp_path / "shop.cache"

    def interrupt():
        raise TimeoutError("the time is over")

    for step in each_step():
        Cache(str(path), b"a" * 16).close()
        try:
            came = handled_at_step(step, lambda: Cache(str(path), b"b" * 16).close(), interrupt)
        except TimeoutError:
            continue
        assert not came, step
        break
    assert step > 30


def test_a_cache_that_is_dropped_is_closed(tmp_path):
    before = open_files()
    Cache(str(tmp_path / "shop.cache"), b"a" * 16)
    gc.collect()
    assert open_files() == before
