"""The log in PostgreSQL, on a server that is started here."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import transaction

import dobbin_like
from benchmarks import isolation
from dobbin_like import (
    BTree,
    Database,
    PersistentDict,
    PersistentFile,
    PersistentList,
    checkout,
    cli,
)
from dobbin_like.check import check_database
from dobbin_like.conformance import StorageTests
from dobbin_like.conformance.steps import append, catch_up, commit, data_of, fail, locked
from dobbin_like.exc import (
    ConflictError,
    FormatVersionError,
    HistoryLostError,
    InDoubtError,
    LockTimeout,
    NotALogError,
    NotHeldError,
    OvertakenError,
    ReadConflictError,
    ReadOnlyStorageError,
    ServerUnavailableError,
    UniqueConflictError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.storage import TransactionLog
from tests.helpers import processes
from tests.helpers.accounts import Account
from tests.helpers.cutting_proxy import BEFORE, LATE, LOST, WAIT_SECONDS, CuttingProxy
from tests.helpers.interrupts import interrupted
from tests.helpers.postgres_logs import in_another_process, pack_as_another
from tests.helpers.postgres_server import STANDBY, USER, Server, missing, new_schema, serials

if missing():
    pytest.skip(missing(), allow_module_level=True)

import psycopg

from dobbin_like.storage.postgres import PostgresLog
from dobbin_like.storages.postgres import at_head, offers, reading, tables, writer
from dobbin_like.storages.postgres.lines import Lines, is_lost
from dobbin_like.storages.postgres.packs import existing
from dobbin_like.storages.postgres.wire import Call, exchange


@contextlib.contextmanager
def another_turn(log):
    """Let another process keep the others out."""
    with psycopg.connect(log._dsn) as connection:
        connection.execute(f"select 1 from {log._options.schema}.meta for update")
        yield


@contextlib.contextmanager
def beside(act):
    """Run *act* in another thread, beside the block."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(act)
        yield
        done.result(WAIT_SECONDS)


class TestPostgresLog(StorageTests):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.dsn = server.dsn()

    def make(self):
        self.schema = new_schema()
        return PostgresLog(self.dsn, schema=self.schema)

    def again(self, storage, **options):
        return PostgresLog(self.dsn, schema=storage._options.schema, **options)

    def pack(self, storage):
        pack_as_another(storage)


# -- databases that commit at the same time ------------------------------------------------


@pytest.fixture
def pair(server, schema):
    """Two databases as two processes have them, and a root with one of everything."""
    with contextlib.ExitStack() as ends:
        databases = []
        for _ in range(2):
            log = PostgresLog(server.dsn(), schema=schema)
            ends.enter_context(in_another_process(log))
            manager = transaction.TransactionManager()
            databases.append(ends.enter_context(Database(log, transaction_manager=manager)))
        one, two = databases
        tree = BTree({number: number for number in range(0, 1000, 2)})
        one.set_root(PersistentDict(names=PersistentDict(), tree=tree, n=0))
        one.transaction_manager.commit()
        two.transaction_manager.begin()
        yield one, two
        for database in databases:
            database.transaction_manager.abort()
            check_database(database).raise_if_bad()


def test_what_came_between_is_merged(pair):
    one = pair[0]
    for number, database in enumerate(pair):
        for name in ("names", "tree"):
            checkout(database.root[name])
            database.root[name][2 * number + 1] = PersistentDict(by=number)
    for database in pair:
        database.transaction_manager.commit()
    one.transaction_manager.begin()

    for name in ("names", "tree"):
        for database in pair:
            found = database.root[name]
            assert (found[1]["by"], found[3]["by"]) == (0, 1)
    assert [logged.failed for logged in one.storage.transactions()] == [False] * 3


def test_a_conflict_with_what_came_between_is_recorded(pair):
    one, two = pair
    for database in pair:
        checkout(database.root)
        database.root["n"] += 1
    one.transaction_manager.commit()
    with pytest.raises(ConflictError):
        two.transaction_manager.commit()
    two.transaction_manager.abort()

    assert two.root["n"] == 1
    assert [logged.failed for logged in two.storage.transactions()] == [False, False, True]


def test_a_file_is_stored_once_although_another_process_was_faster(pair, server, schema):
    one = pair[0]
    for number, database in enumerate(pair):
        checkout(database.root["names"])
        database.root["names"][number] = PersistentFile(io.BytesIO(b"text" * 1000))
    for database in pair:
        database.transaction_manager.commit()
    one.transaction_manager.begin()

    assert {b"".join(one.root["names"][number]) for number in range(2)} == {b"text" * 1000}
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute(f"select count(*) from {schema}.stream").fetchone() == (2,)


def test_several_participants_decide_behind_what_came_between(pair):
    one, two = pair
    checkout(two.root["names"])
    two.root["names"][2] = 2
    two.transaction_manager.get().join(Bystander())
    checkout(one.root["names"])
    one.root["names"][1] = 1
    one.transaction_manager.commit()
    two.transaction_manager.commit()

    assert dict(two.root["names"]) == {1: 1, 2: 2}


@pytest.mark.parametrize("participants", [1, 2])
@pytest.mark.parametrize("freshness", [0, 600])
@pytest.mark.parametrize("how", ["exclusive", "length"])
def test_who_stores_nothing_is_told_that_what_it_depends_on_was_changed(
    pair, participants, freshness, how
):
    """Nothing is appended, so that no append finds it."""
    one, two = pair
    two.storage._freshness = freshness

    def depend():
        tree = two.root["tree"]
        if how == "exclusive":
            checkout(tree, exclusive=True)
        else:
            checkout(tree)
            assert len(tree) == 500
            assert tree.setdefault(10, 1) == 10
        if participants == 2:
            two.transaction_manager.get().join(Bystander())

    depend()
    two.transaction_manager.commit()
    depend()
    before = len(one.storage)
    checkout(one.root["tree"])
    one.root["tree"][501] = 1
    one.transaction_manager.commit()
    with pytest.raises(ReadConflictError):
        two.transaction_manager.commit()
    two.transaction_manager.abort()
    assert not two.storage.held
    one.transaction_manager.begin()
    assert [logged.failed for logged in one.storage.transactions()][before:] == [False, True]


@pytest.mark.parametrize("participants", [1, 2])
def test_indexes_are_kept_although_another_process_was_faster(pair, participants):
    """What was gathered for them is gathered again, and stands in them once."""
    one, two = pair
    accounts = {n: Account(number=n, owner=f"owner {n}") for n in range(4)}
    checkout(one.root)
    one.root["accounts"] = PersistentDict(accounts)
    one.transaction_manager.commit()
    one.index(Account, "owner")
    one.index(Account, "number", unique=True)
    for database in pair:
        database.transaction_manager.begin()

    for number, database in enumerate(pair):
        mine = database.root["accounts"][number]
        checkout(mine, database.root["accounts"])
        mine.owner = "Ada"
        database.root["accounts"][10 + number] = Account(number=10 + number, owner="Ada")
    if participants == 2:
        two.transaction_manager.get().join(Bystander())
    one.transaction_manager.commit()
    two.transaction_manager.commit()
    one.transaction_manager.begin()

    for database in pair:
        found = database.find(Account, owner="Ada")
        assert sorted(each.number for each in found) == [0, 1, 10, 11]
        assert [each.owner for each in database.find(Account, number=1)] == ["Ada"]
        assert list(database.find(Account, owner="owner 1")) == []


def test_a_unique_index_refuses_what_another_process_has_taken_meanwhile(pair):
    one, two = pair
    checkout(one.root)
    one.root["accounts"] = PersistentDict()
    one.transaction_manager.commit()
    one.index(Account, "number", unique=True)
    for database in pair:
        database.transaction_manager.begin()
    for number, database in enumerate(pair):
        checkout(database.root["accounts"])
        database.root["accounts"][number] = Account(number=7)
    one.transaction_manager.commit()

    with pytest.raises(UniqueConflictError):
        two.transaction_manager.commit()


class Bystander:
    """Another participant, which refuses nothing."""

    def sortKey(self):  # noqa: N802
        return "~"

    def done(self, _transaction):
        pass

    abort = tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = done


def test_the_page_tells_how_many_round_trips_there_are(server, proxy, schema):
    """Each message that the client sends is answered before it sends the next one."""

    def messages(act):
        proxy.cut_at(1_000_000, BEFORE)
        act()
        return 1_000_000 - proxy.cut_at(0, BEFORE)

    manager = transaction.TransactionManager()
    # Preparing a statement is a round trip more, once.
    log = PostgresLog(server.dsn(proxy.port), schema=schema, prepare=False)
    with (
        Database(log, transaction_manager=manager) as database,
        PostgresLog(server.dsn(), schema=schema) as other,
    ):
        database.set_root(PersistentDict(part=PersistentDict()))
        manager.commit()
        root = database.root

        def change():
            checkout(root)
            root["n"] = next(serials)

        manager.begin()
        change()
        assert messages(manager.commit) == 1
        assert messages(manager.begin) == 1
        with in_another_process(other):
            manager.commit()
            commit(other, {100: b""})
            assert messages(manager.begin) == 2
            counts = []
            for number in range(2):
                change()
                commit(other, {200 + number: b""})
                counts.append(messages(manager.commit))
            assert counts == [3, 2]  # The second time, it is expected.
        assert messages(lambda: database.storage.load(Oid(1))) == 1


def test_a_connection_that_ends_between_two_statements_is_lost(server):
    """Nobody knows what was done: that is asked for, instead of saying that nothing was."""
    lines = Lines(server.dsn(), "unused", 30.0, prepare=True)
    end = Call(b"select pg_terminate_backend(pg_backend_pid())")
    line = lines.take()
    with pytest.raises(psycopg.Error) as caught:
        exchange(line, [Call(b"select 1"), end, Call(b"select 2")])
    assert is_lost(caught.value, line)
    lines.close()


def test_a_connection_on_which_answers_are_left_is_lost(server):
    """It was refused to end, and taken for a refusal of the server: nothing would be done."""
    lines = Lines(server.dsn(), "unused", 30.0, prepare=False)
    line = lines.take()
    line.pgconn.enter_pipeline_mode()
    line.pgconn.send_query_params(b"select 0", None)
    with pytest.raises(psycopg.Error, match="pipeline") as caught:
        exchange(line, [Call(b"select 1"), Call(b"select 2")])
    assert is_lost(caught.value, line)
    lines.close()


def test_within_its_freshness_the_server_is_not_asked(server, proxy, schema):
    def trips(act, expected):
        proxy.cut_at(1_000_000, BEFORE)
        assert act() is expected
        return 1_000_000 - proxy.cut_at(0, BEFORE)

    with (
        PostgresLog(server.dsn(proxy.port), schema=schema, freshness=600, prepare=False) as log,
        PostgresLog(server.dsn(), schema=schema) as other,
    ):
        assert trips(log.has_news, expected=False) == 1
        with in_another_process(other):
            commit(other, {1: b"one"})
            assert trips(log.has_news, expected=False) == 0

            # As if the time were over.
            log._asked_at -= 600
            assert trips(log.has_news, expected=True) == 1
            assert trips(log.has_news, expected=True) == 0
            log.apply(log.read_news())
            assert trips(log.has_news, expected=False) == 0

            # Its own commit finds what it has not seen, and goes on from there.
            commit(other, {2: b"two"})
            log.acquire(settled=False)
            with pytest.raises(OvertakenError):
                append(log, {3: b"three"})
            log.release()
            commit(log, {3: b"three"})
        assert [log.load(Oid(oid)).data for oid in (1, 2, 3)] == [b"one", b"two", b"three"]


def test_many_objects_are_read_in_few_round_trips(server, proxy, schema):
    log = PostgresLog(server.dsn(proxy.port), schema=schema, prepare=False)
    manager = transaction.TransactionManager()
    with Database(log, transaction_manager=manager) as database:
        parts = [PersistentDict(n=number) for number in range(2500)]
        database.set_root(PersistentList(parts))
        manager.commit()
        with Database(
            PostgresLog(server.dsn(proxy.port), schema=schema, prepare=False),
            transaction_manager=transaction.TransactionManager(),
        ) as other:
            assert len(other.root) == 2500
            for read, count in (
                (other.preload, 3),
                (other.preload, 0),
                # The list is large; and two for a pin.
                (lambda: len(list(other.walk())), 3 + 1 + 2),
                (lambda: len(list(other.instances(PersistentDict))), 3 + 1 + 2),
            ):
                proxy.cut_at(1_000_000, BEFORE)
                assert read() >= 2500
                trips = 1_000_000 - proxy.cut_at(0, BEFORE)
                # What was read ahead and not asked for is still there.
                assert count - (count > 3) <= trips <= count, read
            assert [part["n"] for part in other.root] == list(range(2500))


def test_what_was_read_ahead_is_not_older_than_what_is_applied(server, schema):
    with (
        PostgresLog(server.dsn(), schema=schema) as log,
        PostgresLog(server.dsn(), schema=schema) as other,
    ):
        commit(log, dict.fromkeys(range(5), b"old"))
        before = log.tid
        commit(log, {1: b"new"})
        log.read_ahead([Oid(oid) for oid in (0, 1, 2, 3, 4, 7)])
        commit(other, {2: b"new"})
        assert data_of(log, 2) == b"old"
        log.read_ahead([Oid(oid) for oid in (0, 2, 3, 4)])
        catch_up(log)

        assert log.load(Oid(1), before).data == b"old"
        assert [data_of(log, oid) for oid in range(5)] == [b"old", b"new", b"new", b"old", b"old"]
        assert log.load(Oid(7)) is None
        while log._ahead._versions:  # Nothing may come between reading and keeping them.
            log._ahead._versions.popitem()
        with overtaken_while_reading(log, lambda: commit(other, {3: b"new"})):
            log.read_ahead([Oid(3), Oid(4)])
        assert data_of(log, 3) == b"new"


@contextlib.contextmanager
def overtaken_while_reading(log, act):
    """Let *act* be done, and applied, when *log* has read and before it has the result."""
    read = log._as_of

    def read_and_act(*statement):
        rows = read(*statement)
        log._as_of = read
        act()
        catch_up(log)
        return rows

    log._as_of = read_and_act
    yield


def test_large_objects_are_not_read_all_at_once(server, schema):
    sizes = {0: 0, 1: 1000, 2: reading.AHEAD_BYTES, 3: reading.AHEAD_BYTES + 1, 4: 1_000_000}
    with PostgresLog(server.dsn(), schema=schema) as log:
        commit(log, {oid: bytes([oid]) * size for oid, size in sizes.items()})
        log.read_ahead([Oid(oid) for oid in (4, 3, 2, 1, 0)])
        assert set(log._ahead._versions) == {0, 1, 2}
        assert [len(data_of(log, oid)) for oid in sizes] == list(sizes.values())


def test_schemas_are_databases_of_their_own(server):
    names = [f'a "quoted" {{name}} 100% {next(serials)}', f"other{next(serials)}"]
    logs = [PostgresLog(server.dsn(), schema=name) for name in names]
    commit(logs[0], {0: b"root"})

    assert (logs[1].has_news(), data_of(logs[0], 0)) == (False, b"root")
    assert logs[0].sort_key != logs[1].sort_key
    for log in logs:
        log.close()


def test_a_schema_has_a_name_that_the_server_does_not_cut(server):
    # It cuts names with a notice alone: two that begin alike were one database.
    PostgresLog(server.dsn(), schema=f"{'é' * 29}{next(serials):05}").close()
    for name in "", "é" * 32:
        with pytest.raises(ValueError, match=rf"has {2 * len(name)} bytes, .* of 1 to 63"):
            PostgresLog(server.dsn(), schema=name)


def test_a_log_that_is_only_read_is_not_made(server, schema):
    with pytest.raises(NotALogError, match=schema):
        PostgresLog(server.dsn(), schema=schema, read_only=True)
    with psycopg.connect(server.dsn()) as connection:
        query = "select count(*) from pg_namespace where nspname = %s"
        assert connection.execute(query, (schema,)).fetchone() == (0,)


def test_a_newer_format_is_refused(server, schema):
    PostgresLog(server.dsn(), schema=schema).close()
    with psycopg.connect(server.dsn()) as connection:
        connection.execute(f"update {schema}.meta set format = 3")
    with pytest.raises(FormatVersionError):
        PostgresLog(server.dsn(), schema=schema)


def test_many_may_make_the_tables_at_once(server, schema):
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: PostgresLog(server.dsn(), schema=schema), range(6)))
    assert len({log.sort_key for log in made}) == 1
    for log in made:
        log.close()


def test_a_log_that_is_pickled_is_opened_again(server, schema):
    with PostgresLog(server.dsn(), schema=schema) as log:
        commit(log, {0: b"root"})
        assert pickle.loads(pickle.dumps(log)) is log
        data = pickle.dumps(log)
        log.close()
        with pickle.loads(data) as other:
            assert data_of(other, 0) == b"root"


def test_a_large_transaction_is_put_in_parts(server, schema, monkeypatch):
    monkeypatch.setattr(offers, "_PART_BYTES", 10)
    states = {number: bytes([number]) * number for number in range(20)}
    with PostgresLog(server.dsn(), schema=schema) as log:
        for settled in (False, True):
            log.acquire(settled=settled)
            append(log, states)
            log.release()
            assert {oid: data_of(log, oid) for oid in states} == states
        with locked(log):
            entries = [(Oid(oid), 1, data) for oid, data in states.items()]
            made = log.prepare(Tid(log.tid + 10), entries)
            log.decide()
            log.apply([made])
        assert [oid for oid, _ in log.entries(made)] == list(states)
        assert (log.oid_count, len(log)) == (20, 3)


# -- by its URI ----------------------------------------------------------------------------


def test_objects_are_counted_once_whoever_stores_them_first(server, schema, monkeypatch):
    """Oids below the next one may be new: another process had them in its hands."""
    looked_for = []
    make_offer = writer.make_offer

    def recorded(*args, **more):
        offer = make_offer(*args, **more)
        older = offer.parameters[list(tables._PARAMETERS).index("older")]
        looked_for.append(b"{}" if offer.statement == "append_one" else older)
        return offer

    monkeypatch.setattr(writer, "make_offer", recorded)
    with (
        PostgresLog(server.dsn(), schema=schema) as log,
        PostgresLog(server.dsn(), schema=schema) as other,
    ):
        commit(log, {0: b"0", 9: b"9"})
        commit(log, {0: b"0", 9: b"9"})
        assert looked_for == [b"{}", b"{}"]  # All were new; then, all were known.
        commit(other, {4: b"4", 9: b"9", 10: b"10"})
        assert looked_for.pop() == b"{4}"
        assert other.oid_count == 4
        commit(log, {3: b"3", 4: b"4", 10: b"10"})
        assert looked_for.pop() == b"{3}"
        with PostgresLog(server.dsn(), schema=schema) as new:
            commit(new, {3: b"3", 5: b"5"})
            assert looked_for.pop() == b"{3,5}"
            assert new.load(Oid(4)) is not None
            monkeypatch.setattr(existing, "_MOST", 2)
            commit(new, {4: b"4"})
            assert looked_for.pop() == b"{}"
            commit(new, {0: b"0"})
            assert looked_for.pop() == b"{0}"
            assert new.oid_count == 6
        for each in (log, other):
            catch_up(each)
            assert each.oid_count == len({oid for oid in range(20) if each.has(Oid(oid))}) == 6


def test_a_state_that_no_row_can_take_is_refused_at_once(server, schema, monkeypatch):
    """The server would close the connection, and nobody would know what it has done."""
    monkeypatch.setattr(offers, "LARGEST_STATE", 1000)
    with Database(PostgresLog(server.dsn(), schema=schema)) as database:
        database.run(lambda: database.set_root(PersistentDict(a=b"small")))

        def grow():
            checkout(database.root)
            database.root["a"] = bytes(1000)

        with pytest.raises(ValueError, match=r"oid 0 has 1,0\d\d bytes.*takes 1,000; divide"):
            database.run(grow)
        assert database.root["a"] == b"small"
        assert [logged.failed for logged in database.storage.transactions()] == [False, True]


def test_a_database_is_opened_by_its_uri(server, schema):
    uri = server.uri(schema)
    with pytest.raises(NotALogError):
        dobbin_like.open(uri, must_exist=True)
    with dobbin_like.open(f"{uri}&patience=3&lock_timeout=2&guard=no&sslmode=prefer") as database:
        database.run(lambda: database.set_root(PersistentDict(n=1)))
        assert database.storage._options.lock_timeout == 2
        assert not database._store.graph.guard
    with dobbin_like.open(uri, read_only=True) as database:
        assert database.root["n"] == 1
        with pytest.raises(ReadOnlyStorageError):
            checkout(database.root)
    for wrong in ("patience=soon", "lock_timeout=soon", "sync=no"):
        with pytest.raises((ValueError, TypeError), match=wrong.partition("=")[0]):
            dobbin_like.open(f"{uri}&{wrong}")
    with pytest.raises(ServerUnavailableError):
        dobbin_like.open(f"postgresql://nobody@127.0.0.1:{server.port}/none")


def test_init_and_copy_take_a_uri(server, schema, path, tmp_path, capsys):
    uri, other = server.uri(schema), server.uri(new_schema())
    with Database(path) as database:
        database.run(lambda: database.set_root(PersistentDict(file=None, n=1)))
        with database.transaction() as root:
            checkout(root)
            root["file"] = PersistentFile(io.BytesIO(b"text" * 1_000_000))
    back = str(tmp_path / "back.log")
    for command in (
        ["init", uri],
        ["copy", str(path), uri],
        ["copy", uri, other],
        ["copy", other, back],
        ["copy", uri, server.uri(new_schema()), "--no-history"],
    ):
        assert cli.run(command) == 0, (command, capsys.readouterr().err)
    told = capsys.readouterr().out
    assert "2 transactions (2 of them new) with" in told
    with Database(back) as database:
        assert b"".join(database.root["file"]) == b"text" * 1_000_000
    assert cli.run(["copy", server.uri("none"), str(tmp_path / "none.log")]) == 2
    assert "there are no tables of a log" in capsys.readouterr().err


@pytest.fixture
def filled(server, schema, path):
    """The URI of a log with two transactions and one that failed, beside a file with the same."""
    with Database(path, transaction_manager=transaction.TransactionManager()) as database:
        with database.transaction(note="first"):
            database.set_root(PersistentDict(names=PersistentDict(ada=1), n=1))
        with database.transaction(note="second") as root:
            checkout(root["names"])
            root["names"]["bob"] = 2
    with TransactionLog(path) as log:
        fail(log, "a conflict", [0])
    uri = server.uri(schema)
    assert cli.run(["copy", str(path), uri]) == 0
    return uri


@pytest.mark.parametrize(
    "command",
    [
        "census",
        "diff 0 now",
        "diff 0 now --json",
        "export",
        "find dobbin_like.persistent.PersistentDict",
        "find PersistentDict --json",
        "history names",
        "history names --json",
        "log",
        "log --json --failed",
        "log --oldest-first --limit 1",
        "referrers names",
        "show",
        "show names --json",
        "show names --history",
        "show names --diff 0 now",
        "tree --json",
    ],
)
def test_a_command_tells_the_same_by_a_uri_as_of_a_file(filled, path, command, capsys):
    name, *options = command.split()
    told = []
    for where in (str(path), filled):
        capsys.readouterr()
        assert cli.run([name, where, *options]) == 0
        told.append(capsys.readouterr().out)

    assert told[1] == told[0]
    assert told[0]


def test_what_is_told_of_a_log_in_postgresql(filled, capsys):
    capsys.readouterr()
    assert cli.run(["info", filled]) == 0
    told = capsys.readouterr().out
    assert "transactions  3, of which 1 failed" in told
    assert told.startswith("log           postgresql://127.0.0.1:")
    assert cli.run(["info", filled, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["objects"], "size" in facts) == (2, False)
    assert cli.run(["check", filled]) == 0
    assert "3 transactions (1 failed)" in capsys.readouterr().out
    assert cli.run(["check", filled, "--allow", "shop.*"]) == 2
    assert "let one follow it" in capsys.readouterr().err


def test_commands_that_write_take_a_uri(filled, tmp_path, capsys, monkeypatch):
    capsys.readouterr()
    assert cli.run(["log", filled, "--json", "--oldest-first"]) == 0
    tid = json.loads(capsys.readouterr().out.splitlines()[1])["tid"]
    assert cli.run(["undo", filled, str(tid)]) == 0
    program = "checkout(root); root['n'] = 7; transaction.commit()"
    monkeypatch.setattr("sys.stdin", io.StringIO(program))
    assert cli.run(["shell", filled]) == 0
    assert cli.run(["snapshot", filled, str(tmp_path / "new.log")]) == 0
    with Database(tmp_path / "new.log", read_only=True) as database:
        assert (dict(database.root["names"]), database.root["n"]) == ({"ada": 1}, 7)


def test_a_log_that_is_no_log_is_told_by_its_uri(server, capsys):
    for command in ("census", "check", "info", "log", "show", "tree"):
        assert cli.run([command, server.uri("none")]) == 2
        assert "there are no tables of a log" in capsys.readouterr().err


def test_what_is_committed_is_listed_as_it_comes(filled):
    command = [sys.executable, "-m", "dobbin_like", "log", filled, "--follow", "--json"]
    with processes.start(
        command, env=processes.python_path(), stdout=subprocess.PIPE, text=True
    ) as listing:
        assert [json.loads(listing.stdout.readline())["description"] for _ in range(3)]
        with dobbin_like.open(filled) as database, database.transaction(note="third") as root:
            checkout(root)
            root["n"] = 3
        assert json.loads(listing.stdout.readline())["description"] == "third"
        listing.send_signal(signal.SIGINT)
        assert listing.wait(WAIT_SECONDS) == 0


# -- several processes ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("careful", [False, True], ids=["snapshots", "serializable"])
def test_transactions_of_processes_are_isolated(server, schema, tmp_path, careful):
    """Processes that are killed, stopped and forked; see ``benchmarks/isolation.py``."""
    plan = isolation.Plan(processes=3, threads=2, packs=False, careful=careful)
    plan.uri = server.uri(schema)
    found, figures = isolation.run(tmp_path, int(careful), 6, plan)

    assert found == []
    assert figures["committed"]


def test_who_is_killed_in_its_turn_is_no_obstacle_though_a_child_of_it_lives(server, schema):
    """The child has inherited the connection, and must not keep it open."""
    with PostgresLog(server.dsn(), schema=schema, lock_timeout=20) as log:
        commit(log, {0: b"root"})
        reader, writer = os.pipe()

        def parent():
            with PostgresLog(server.dsn(), schema=schema) as other:
                other.acquire()
                processes.forked(lambda: (os.write(writer, b"x"), signal.pause()))
                signal.pause()

        child = processes.forked(parent)
        assert os.read(reader, 1) == b"x"
        os.kill(child, signal.SIGKILL)
        assert processes.exit_code(child) == -signal.SIGKILL
        commit(log, {0: b"again"})
        assert data_of(log, 0) == b"again"
        os.close(reader)
        os.close(writer)


@pytest.mark.slow
def test_who_is_gone_in_the_middle_of_a_large_commit_keeps_nobody_out(server, schema, monkeypatch):
    """It had locked the others out until the server noticed: two hours by default."""
    begun, go_on = threading.Event(), threading.Event()

    def commit_later(line, statements):
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        return offers_commit(line, statements)

    def commit_large():
        gone.acquire(settled=False)
        try:
            append(gone, dict.fromkeys(range(3), b"1234567890"))
        finally:
            gone.release()

    offers_commit = offers.commit
    monkeypatch.setattr(offers, "_PART_BYTES", 10)
    with (
        PostgresLog(server.dsn(), schema=schema, patience=1) as gone,
        PostgresLog(server.dsn(), schema=schema, lock_timeout=WAIT_SECONDS / 2) as other,
        in_another_process(gone),
    ):
        commit(other, {0: b"root"})
        catch_up(gone)
        monkeypatch.setattr(offers, "commit", commit_later)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(commit_large)
            try:
                assert begun.wait(WAIT_SECONDS)
                monkeypatch.setattr(offers, "commit", offers_commit)
                commit(other, {0: b"other"})
            finally:
                go_on.set()
            assert isinstance(done.exception(WAIT_SECONDS), OvertakenError)
        assert data_of(other, 0) == b"other"
        assert other.oid_count == 1


def test_who_does_nothing_in_its_turn_loses_it(server, schema):
    with (
        PostgresLog(server.dsn(), schema=schema, patience=0.5) as idle,
        PostgresLog(server.dsn(), schema=schema) as log,
        in_another_process(idle),
    ):
        idle.acquire()
        commit(log, {0: b"root"})
        with pytest.raises(OvertakenError):
            idle.append(Tid(10), [(Oid(0), 1, b"late")])
        idle.release()
        commit(idle, {0: b"again"})
        assert len(idle) == 2


LOADED = """
import os, sys
import dobbin_like
from dobbin_like import checkout
from dobbin_like.exc import InDoubtError

uri, worker = sys.argv[1], int(sys.argv[2])
with dobbin_like.open(uri) as database:
    print("open", flush=True)
    for number in range(int(sys.argv[3])):
        def add():
            checkout(database.root)
            database.root.append((worker, number))
        try:
            database.run(add, retry=1000)
            print("done", number, flush=True)
        except InDoubtError:
            print("doubt", number, flush=True)
"""


class Load:
    """Processes that append to the root, a list, at the same time."""

    def __init__(self, uri, workers, each):
        self.total = workers * each
        self._each = each
        self._running = [
            processes.start(
                [sys.executable, "-c", LOADED, uri, str(worker), str(each)],
                stdout=subprocess.PIPE,
                bufsize=0,  # What follows "open" is left for communicate().
                env=processes.python_path(),
            )
            for worker in range(workers)
        ]
        for process in self._running:  # Opening is not patient with a server that is away.
            assert process.stdout.readline() == b"open\n"

    def wait_for(self, database, transactions):
        while len(database.storage) < transactions:
            transaction.begin()
            assert any(process.poll() is None for process in self._running)

    def check(self, database):
        """Nothing that was acknowledged is lost, and nothing is there twice."""
        told = [process.communicate(timeout=90)[0].decode().split() for process in self._running]
        transaction.begin()
        stored = Counter(map(tuple, database.root))
        assert [process.returncode for process in self._running] == [0] * len(told)
        for worker, words in enumerate(told):
            assert len(words) == 2 * self._each
            for kind, number in zip(words[::2], map(int, words[1::2]), strict=True):
                assert stored[worker, number] in ((1,) if kind == "done" else (0, 1))


@pytest.mark.slow
def test_no_acknowledged_commit_is_lost_or_done_twice_when_the_server_is_killed(server, schema):
    uri = server.uri(schema)
    with dobbin_like.open(uri) as database:
        database.run(lambda: database.set_root(PersistentList()))
        load = Load(uri, workers=3, each=120)
        for kill in range(1, 11):
            load.wait_for(database, kill * load.total // 12)
            server.kill()
            server.start()
        load.check(database)


@pytest.mark.slow
def test_no_acknowledged_commit_is_lost_when_a_standby_takes_over(schema):
    with contextlib.ExitStack() as ends:
        servers = []
        for primary in (None, 0):
            servers.append(Server(None if primary is None else servers[0]))
            ends.callback(servers[-1].remove)
            servers[-1].start()
        names = f"alter system set synchronous_standby_names = '{STANDBY}'"
        set_on(servers[0], names, "select pg_reload_conf()")
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        uri = f"postgresql://{USER}@{hosts}/{USER}?target_session_attrs=read-write"
        uri += f"&schema={schema}&connect_timeout=2"
        with dobbin_like.open(uri) as database:
            database.run(lambda: database.set_root(PersistentList()))
            with opened_when_it_is_there(servers[1].uri(schema)) as follower:
                assert list(follower.root) == []
                load = Load(uri, workers=3, each=80)
                load.wait_for(database, load.total // 3)
                transaction.begin()
                assert len(follower.root)
            servers[0].kill()
            alone = "alter system set synchronous_standby_names = ''"
            set_on(servers[1], alone, "select pg_promote(true, 20)", "select pg_reload_conf()")
            load.check(database)


@pytest.mark.slow
def test_nothing_is_acknowledged_while_the_standby_is_cut_off(schema):
    """The standby takes over, and lacks what the primary alone had."""
    with contextlib.ExitStack() as ends:
        primary = Server()
        ends.callback(primary.remove)
        primary.start()
        cable = CuttingProxy(primary.port)
        cut = ends.enter_context(contextlib.ExitStack())
        cut.callback(cable.close)
        standby = Server(SimpleNamespace(dsn=lambda: primary.dsn(cable.port)))
        ends.callback(standby.remove)
        standby.start()
        names = f"alter system set synchronous_standby_names = '{STANDBY}'"
        set_on(primary, names, "select pg_reload_conf()")
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        uri = f"postgresql://{USER}@{hosts}/{USER}?target_session_attrs=read-write"
        uri += f"&schema={schema}&connect_timeout=2"
        with dobbin_like.open(uri) as database:
            database.run(lambda: database.set_root(PersistentList()))
            load = Load(uri, workers=3, each=40)
            load.wait_for(database, load.total // 3)
            cut.close()
            waiting_for_a_standby(primary)
            time.sleep(0.5)
            primary.kill()
            alone = "alter system set synchronous_standby_names = ''"
            set_on(standby, alone, "select pg_promote(true, 20)", "select pg_reload_conf()")
            load.check(database)


def opened_when_it_is_there(uri):
    """Open the log of a standby, which shows a moment later what it has."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        with contextlib.suppress(NotALogError):
            database = dobbin_like.open(uri, read_only=True)
            if database.root is not None:
                return database
            database.close()
        assert time.monotonic() < until
        time.sleep(0.05)


def set_on(server, *statements):
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


# -- an answer that is lost -------------------------------------------------------------


@pytest.fixture
def logs(server, proxy, schema):
    """A log through the proxy, with one transaction, and another one that is not cut off."""
    with (
        PostgresLog(server.dsn(proxy.port), schema=schema, patience=15) as log,
        PostgresLog(server.dsn(), schema=schema) as other,
    ):
        commit(log, {0: b"root"})
        catch_up(other)
        yield log, other


def committed_once(log, other, data):
    """Whether both see *data* as the last of two transactions."""
    for each in (log, other):
        catch_up(each)
        assert (len(each), data_of(each, 0)) == (2, data)
    return [logged.sequence for logged in other.transactions()] == [1, 2]


@pytest.mark.parametrize("how", [BEFORE, LOST])
@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("message", [1, 2, 3])
def test_an_append_whose_answer_is_lost_is_done_once(logs, proxy, how, settled, message):
    log, other = logs
    log.acquire(settled=settled)
    catch_up(log)
    proxy.cut_at(message, how)
    logged = log.append(Tid(log.tid + 10), [(Oid(0), 1, b"again")])
    log.release()

    cut = proxy.was_cut.is_set()
    proxy.cut_at(0, how)
    assert cut or message > 1  # It is one message.
    assert logged.sequence == 2
    assert committed_once(log, other, b"again")


def test_an_append_that_comes_late_finds_its_place_taken(logs, proxy):
    log, other = logs
    with locked(log):
        catch_up(log)
    log.acquire(settled=False)
    proxy.cut_at(1, LATE)
    log.append(Tid(log.tid + 10), [(Oid(0), 1, b"again")])
    log.release()
    proxy.deliver()

    assert committed_once(log, other, b"again")


def test_who_loses_the_answer_and_the_race_is_told_that_nothing_was_written(logs, proxy):
    log, other = logs
    log.acquire(settled=False)
    proxy.cut_at(1, LATE)
    with in_another_process(other):
        commit(other, {0: b"other"})
    with pytest.raises(OvertakenError):
        log.append(Tid(log.tid + 10), [(Oid(0), 1, b"mine")])
    log.release()
    proxy.deliver()

    assert committed_once(log, other, b"other")


def test_an_interrupted_append_is_settled(logs, proxy):
    """Ctrl-C while the answer is awaited: no cancel is sent, and it is not committed later."""
    log, other = logs
    log.acquire(settled=False)
    tid = Tid(log.tid + 10)
    proxy.hold_at(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        log.append(tid, [(Oid(0), 1, b"late")])
    assert log.settle(tid) is None
    log.release()
    proxy.deliver()

    catch_up(other)
    assert [logged.failed for logged in other.transactions()] == [False, True]
    assert data_of(other, 0) == b"root"


@pytest.mark.parametrize("applied", [False, True])
def test_an_interrupted_append_that_was_done_is_settled(logs, proxy, applied):
    log, other = logs
    log.acquire(settled=False)
    tid = Tid(log.tid + 10)
    proxy.hold_at(1, lambda: (proxy.deliver(), os.kill(os.getpid(), signal.SIGINT)))

    def append_until_interrupted():
        log.append(tid, [(Oid(0), 1, b"again")])
        # The answer may be faster than the signal, which may come to another thread.
        for _ in range(1000):
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        append_until_interrupted()
    if applied:  # By another thread.
        catch_up(log)
    found = log.settle(tid)
    log.release()

    assert (found.tid, found.sequence) == (tid, 2)
    assert committed_once(log, other, b"again")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 8, 3))
@pytest.mark.parametrize("settled", [False, True])
def test_an_interrupt_anywhere_in_a_write_leaves_nothing_half(server, schema, first, settled):
    with (
        PostgresLog(server.dsn(), schema=schema) as log,
        PostgresLog(server.dsn(), schema=schema, lock_timeout=5) as other,
    ):
        commit(log, {0: b"root"})
        tids = []

        def write():
            log.acquire(settled=settled)
            try:
                catch_up(log)
                log.write_stream(io.BytesIO(b"text"))
                tids.append(Tid(log.tid + 1))
                log.append(tids[-1], [(Oid(0), 1, b"%d" % log.tid)])
            finally:
                log.release()

        number = first
        while interrupted(write, number):
            with contextlib.suppress(NotHeldError):
                log.settle(Tid(log.tid + 1))
            log.release()
            with in_another_process(other):
                commit(other, {1: b"another"})
            catch_up(log)
            assert (len(log), data_of(log, 0)) == (len(other), data_of(other, 0))
            number += 7
        assert number > 100


@pytest.mark.slow
def test_an_interrupted_commit_is_there_or_not(server, schema):
    manager = transaction.TransactionManager()
    with (
        Database(
            PostgresLog(server.dsn(), schema=schema), transaction_manager=manager
        ) as database,
        PostgresLog(server.dsn(), schema=schema, lock_timeout=5) as other,
        in_another_process(other),
    ):
        database.set_root(PersistentDict(n=0))
        manager.commit()

        def change():
            manager.begin()
            checkout(database.root)
            database.root["n"] += 1
            if number % 2:  # So that it is overtaken.
                commit(other, {100: b"other"})
            manager.commit()

        number = 1
        while interrupted(change, number):
            manager.abort()
            other.release()  # It may have been interrupted itself.
            commit(other, {101: b"nobody is kept out"})
            done = [one for one in other.transactions() if 0 in one.oids and not one.failed]
            manager.begin()
            assert database.root["n"] == len(done) - 1
            number += 9
        assert number > 500


@pytest.mark.parametrize("how", [BEFORE, LOST])
def test_the_commit_of_what_was_prepared_is_done_once(logs, proxy, how):
    log, other = logs
    log.acquire()
    log.prepare(Tid(log.tid + 10), [(Oid(0), 1, b"again")])
    proxy.cut_at(1, how)
    log.decide()
    log.release()

    assert proxy.was_cut.is_set()
    assert committed_once(log, other, b"again")


def test_what_was_prepared_and_lost_is_not_committed(logs, proxy):
    log, other = logs
    log.acquire()
    log.prepare(Tid(log.tid + 10), [(Oid(0), 1, b"mine")])
    log._writers[threading.get_ident()]._line.pgconn.finish()
    with in_another_process(other):
        commit(other, {0: b"other"})
    with pytest.raises(ServerUnavailableError, match="has taken its place"):
        log.decide()
    log.release()

    assert committed_once(log, other, b"other")


def test_a_stream_that_was_not_read_to_its_end_leaves_nothing(server, schema):
    with PostgresLog(server.dsn(), schema=schema) as log, locked(log):
        with pytest.raises(ZeroDivisionError):
            log.write_stream(Breaking(bytes(3_000_000)))
        log.write_stream(io.BytesIO(b"text"))
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute(f"select count(*) from {schema}.stream").fetchone() == (1,)
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute(f"select count(*) from {schema}.stream").fetchone() == (0,)


class Breaking(io.BytesIO):
    """A source that can't be read to its end."""

    def read(self, size=-1):
        return super().read(size) if self.tell() < 2_000_000 else 1 / 0


@pytest.mark.parametrize("how", [BEFORE, LOST])
def test_reading_goes_on_with_another_connection(logs, proxy, how):
    log, other = logs
    commit(other, {0: b"other"})
    for read in (log.has_news, lambda: data_of(log, 0), log.read_news):
        proxy.cut_at(1, how)
        assert read()
        assert proxy.was_cut.is_set()
    assert committed_once(log, other, b"other")


@pytest.mark.parametrize("how", [BEFORE, LOST])
@pytest.mark.parametrize("message", range(1, 5))
def test_a_stream_that_was_cut_is_whole(logs, proxy, how, message):
    log, other = logs
    data = os.urandom(2_500_000)
    log.acquire(settled=False)
    proxy.cut_at(message, how)
    key, size = log.write_stream(io.BytesIO(data))
    log.append(Tid(log.tid + 10), [(Oid(0), 1, b"again")])
    log.release()

    assert committed_once(log, other, b"again")
    assert (size, other.read_stream(key, 0, size + 1) == data) == (len(data), True)


@pytest.mark.slow
def test_what_can_not_be_found_out_in_time_is_in_doubt(logs, proxy):
    log, other = logs
    log._lines.patience_seconds = 0.3
    log.acquire(settled=False)
    with another_turn(other):  # Nobody can put anything.
        proxy.cut_at(1, BEFORE)
        with pytest.raises(InDoubtError):
            log.append(Tid(log.tid + 10), [(Oid(0), 1, b"again")])
    assert log.settle(Tid(log.tid + 10)) is None
    log.release()

    catch_up(other)
    assert [logged.failed for logged in other.transactions()] == [False, True]


# -- a standby that has to acknowledge ----------------------------------------------------


@pytest.fixture
def no_standby(server):
    """Let commits wait for a standby that there is not, from the call until the second one."""

    def wait_for(name):
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("set synchronous_commit = local")
            connection.execute(f"alter system set synchronous_standby_names = '{name}'")
            connection.execute("select pg_reload_conf()")
            while connection.execute("show synchronous_standby_names").fetchone() != (name,):
                pass
        while bool(name) != commits_wait(server):
            pass

    yield wait_for
    wait_for("")


def commits_wait(server):
    """Return whether a commit waits for a standby.

    The checkpointer of the server puts the setting in force, after all others have read it.
    """
    with (
        psycopg.connect(server.dsn(), autocommit=True) as watcher,
        contextlib.closing(psycopg.connect(server.dsn(), autocommit=True)) as connection,
    ):
        probe = connection.pgconn
        probe.send_query(b"select pg_logical_emit_message(true, 'probe', '')")
        query = "select wait_event from pg_stat_activity where pid = %s"
        while True:
            probe.consume_input()
            if not probe.is_busy():
                return False
            if watcher.execute(query, [probe.backend_pid]).fetchone() == ("SyncRep",):
                watcher.execute("select pg_terminate_backend(%s, 5000)", [probe.backend_pid])
                return True


def waiting_for_a_standby(server):
    """Return the processes of the server that wait for one, when there are any."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        query = "select pid from pg_stat_activity where wait_event = 'SyncRep'"
        for _ in range(10_000):  # Some seconds.
            if found := connection.execute(query).fetchall():
                break
        return [pid for (pid,) in found]


def cancelled(server, how):
    """Let the server be told not to wait, *how* often one likes."""
    for pid in waiting_for_a_standby(server):
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"select {how}({pid})")


def warnings_in(caplog):
    found = [record.getMessage().partition(": ")[2] for record in caplog.records]
    caplog.clear()
    return found


def test_settings_that_may_lose_what_is_acknowledged_are_told_once(server, schema, caplog):
    dsn = f"{server.dsn()} options='-c synchronous_commit=off'"
    with PostgresLog(dsn, schema=schema) as log:
        told = warnings_in(caplog)
        assert [text.partition(" is off: the server may lose")[0] for text in told] == [
            "fsync",
            "synchronous_commit",
        ]
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            query = "select pg_terminate_backend(pid) from pg_stat_activity where query like %s"
            connection.execute(query, [f'%"{schema}"%'])
        commit(log, {0: b"root"})
        assert warnings_in(caplog) == []
    with PostgresLog(dsn, schema=schema, read_only=True) as log:
        assert warnings_in(caplog) == []  # It acknowledges nothing.


@pytest.mark.slow
def test_who_waits_for_no_standby_any_more_is_told(server, schema, no_standby, caplog):
    """After a failover, the new primary has a setting of its own, or none."""
    dsn = f"{server.dsn()} options='-c synchronous_commit=local'"
    with PostgresLog(dsn, schema=schema) as log:
        assert len(warnings_in(caplog)) == 1  # Here, fsync is off.
        for _ in range(2):
            no_standby("nobody")
            server.restart()
            commit(log, {0: b"0"})
            first = warnings_in(caplog)
            no_standby("")
            server.restart()
            commit(log, {0: b"1"})
            assert [text for text in warnings_in(caplog) if "is empty on this server" in text]
            commit(log, {0: b"2"})
            assert warnings_in(caplog) == []
        assert first == []
    no_standby("nobody")
    with PostgresLog(dsn, schema=schema):
        assert [text for text in warnings_in(caplog) if "synchronous_commit is local" in text]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_wait_that_was_cancelled_is_no_acknowledgement(server, schema, no_standby, how):
    with PostgresLog(server.dsn(), schema=schema, patience=1) as log:
        commit(log, {0: b"root"})
        tid = Tid(log.tid + 10)
        log.acquire(settled=False)
        no_standby("nobody")
        with beside(lambda: cancelled(server, how)), pytest.raises(InDoubtError):
            log.append(tid, [(Oid(0), 1, b"again")])
        no_standby("")

        found = log.settle(tid)
        log.apply([found])
        log.release()
        assert (len(log), data_of(log, 0)) == (2, b"again")


@pytest.mark.slow
@pytest.mark.parametrize("settled", [False, True])
def test_what_waits_for_a_standby_in_vain_is_not_told_to_be_refused(
    server, schema, no_standby, settled
):
    """After the wait that was cancelled, the next statement is refused, and not the append."""
    dsn = f"{server.dsn()} options='-c lock_timeout=100'"
    with PostgresLog(dsn, schema=schema, patience=1) as log:
        commit(log, {0: b"root"})
        tid = Tid(log.tid + 10)
        log.acquire(settled=settled)
        with psycopg.connect(server.dsn()) as connection:
            connection.execute(f"update {schema}.barrier set times = times")
            no_standby("nobody")
            with (
                beside(lambda: cancelled(server, "pg_cancel_backend")),
                pytest.raises(InDoubtError, match="lock timeout"),
            ):
                log.append(tid, [(Oid(0), 1, b"again")])
            no_standby("")

        log.apply([log.settle(tid)])
        log.release()
        assert (len(log), data_of(log, 0)) == (2, b"again")


@pytest.mark.slow
def test_who_waits_for_a_standby_too_long_is_in_doubt(server, schema, no_standby):
    """The server goes on to wait, and keeps the others out until then."""
    with (
        PostgresLog(server.dsn(), schema=schema, patience=1) as log,
        PostgresLog(server.dsn(), schema=schema, lock_timeout=0.3) as other,
        in_another_process(other),
    ):
        commit(log, {0: b"root"})
        catch_up(other)
        tid = Tid(log.tid + 10)
        log.acquire(settled=False)
        no_standby("nobody")
        begun = time.monotonic()
        with pytest.raises(InDoubtError, match="no answer within 1"):
            log.append(tid, [(Oid(0), 1, b"again")])
        assert 1 <= time.monotonic() - begun < WAIT_SECONDS
        with pytest.raises(LockTimeout):
            other.acquire()
        assert not other.has_news()
        no_standby("")

        log.apply([log.settle(tid)])
        log.release()
        commit(other, {1: b"other"})
        assert [data_of(other, oid) for oid in range(2)] == [b"again", b"other"]


@pytest.mark.slow
@pytest.mark.parametrize("settled", [False, True])
def test_what_is_visible_after_a_crash_is_acknowledged_with_the_standby(
    server, schema, no_standby, settled
):
    with PostgresLog(server.dsn(), schema=schema) as log:
        commit(log, {0: b"root"})
        no_standby("nobody")

        def append():
            log.acquire(settled=settled)
            logged = log.append(Tid(log.tid + 10), [(Oid(0), 1, b"again")])
            log.release()
            return logged

        with ThreadPoolExecutor(1) as pool:
            appended = pool.submit(append)
            waiting_for_a_standby(server)
            server.kill()
            server.start()
            waiting_for_a_standby(server)
            with PostgresLog(server.dsn(), schema=schema, read_only=True) as reader:
                assert data_of(reader, 0) == b"again"
            assert not appended.done()
            no_standby("")
            assert appended.result(WAIT_SECONDS).sequence == 2


# -- the server goes and comes back -------------------------------------------------------


@pytest.mark.slow
def test_a_log_survives_a_restart_of_the_server(server, schema):
    with PostgresLog(server.dsn(), schema=schema) as log:
        commit(log, {0: b"root"})
        server.restart()
        assert data_of(log, 0) == b"root"
        server.kill()
        server.start()
        commit(log, {0: b"again"})
        log.acquire(settled=False)
        server.restart()
        log.append(Tid(log.tid + 10), [(Oid(0), 1, b"at last")])
        log.release()
        catch_up(log)

        assert (len(log), data_of(log, 0)) == (3, b"at last")


@pytest.mark.slow
def test_a_server_that_stays_away_is_told(server, schema):
    with PostgresLog(server.dsn(), schema=schema, patience=0.2) as log:
        commit(log, {0: b"root"})
        server.kill()
        try:
            with pytest.raises(ServerUnavailableError, match=schema):
                log.has_news()
            log.acquire(settled=False)
            with pytest.raises(ServerUnavailableError):
                log.append(Tid(log.tid + 10), [(Oid(0), 1, b"again")])
            log.release()
            with pytest.raises(ServerUnavailableError):
                PostgresLog(server.dsn(), schema=schema)
        finally:
            server.start()
        log._lines.patience_seconds = 15
        commit(log, {0: b"again"})
        assert data_of(log, 0) == b"again"


def test_a_log_that_has_lost_transactions_is_not_read_on(server, schema):
    with PostgresLog(server.dsn(), schema=schema) as log:
        for number in range(3):
            commit(log, {0: b"%d" % number})
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"delete from {schema}.version where tid = {log.tid}")
            connection.execute(f"delete from {schema}.log where pos = 3")
            with pytest.raises(HistoryLostError):
                log.has_news()
            with PostgresLog(server.dsn(), schema=schema) as other:
                commit(other, {0: b"another"})
        assert log.has_news()
        with pytest.raises(HistoryLostError):
            log.read_news()


@contextlib.contextmanager
def without_the_last(server, schema):
    """Let the server be one that does not have the last transaction; and then have it again."""
    tables = {name: f"{schema}.{name}" for name in ("version", "log")}
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        last = f"tid = (select max(tid) from {schema}.log)"
        for name, table in tables.items():
            kept = f"create table {schema}_{name} as select * from {table} where {last}"
            connection.execute(kept)
        for table in tables.values():
            connection.execute(f"delete from {table} where {last}")
        yield
        for name, table in tables.items():
            connection.execute(f"insert into {table} select * from {schema}_{name}")


def all_that_is_read(log):
    """Return what *log* tells of the objects 0 and 1 and of the stream of the transaction 1."""
    first, last = log.transactions()
    key = log.stream_key
    log.read_ahead([Oid(0), Oid(1)])
    return (
        data_of(log, 0),
        data_of(log, 1),
        log.load(Oid(2)),
        [log.has(Oid(oid)) for oid in range(3)],
        log.version_before(Oid(0), log.load(Oid(0))).data,
        [logged.tid for logged in log.transactions(newest_first=True)],
        log.transaction_of(log.load(Oid(0))).tid == last.tid,
        [[(oid, version.data) for oid, version in log.entries(each)] for each in (first, last)],
        log.stream_size(key),
        log.read_stream(key, 3, 4),
        log.read_stream(key, 10, 4),
    )


@pytest.fixture
def two_transactions(server, schema):
    """A log of two transactions, and how to open it for reading."""
    with PostgresLog(server.dsn(), schema=schema) as log:
        log.acquire()
        key, _ = log.write_stream(io.BytesIO(b"0123456789"))
        append(log, {0: b"root", 1: b"one"})
        log.release()
        catch_up(log)
        commit(log, {0: b"root again", 1: b"one again"})

        def opened(**options):
            reader = PostgresLog(server.dsn(), schema=schema, **options)
            reader.stream_key = key
            return reader

        yield opened


READS = {
    "load": lambda log: log.load(Oid(1)),
    "load of the past": lambda log: log.load(Oid(1), Tid(log.tid - 1)),
    "has": lambda log: log.has(Oid(1)),
    "read_ahead": lambda log: log.read_ahead([Oid(0), Oid(1)]),
    "version_before": lambda log: log.version_before(Oid(1), log.known),
    "transactions": lambda log: [*log.transactions()],
    "newest first": lambda log: [*log.transactions(newest_first=True)],
    "transaction_of": lambda log: log.transaction_of(log.known),
    "entries": lambda log: [*log.entries(log._head)],
    "stream_size": lambda log: log.stream_size(log.stream_key),
    "read_stream": lambda log: log.read_stream(log.stream_key, 0, 5),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("read_only", [False, True])
def test_nothing_is_read_from_a_server_that_lacks_what_was_read(
    server, schema, two_transactions, monkeypatch, read, read_only
):
    """It has an older state of each object, which does not fit to what is in memory."""
    monkeypatch.setattr(at_head, "LEAST_SECONDS", 0.5)
    with two_transactions(read_only=read_only, patience=0.5) as log:
        log.known = log.load(Oid(0))
        told, error = "lags behind", ServerUnavailableError
        if not read_only:
            told, error = "lost transactions, expected number 2", HistoryLostError
        with without_the_last(server, schema), pytest.raises(error, match=told):
            read(log)
        read(log)


def test_a_standby_that_lags_behind_is_waited_for(server, schema, two_transactions):
    with two_transactions(read_only=True) as log:
        there = all_that_is_read(log)
        assert there[:4] == (b"root again", b"one again", None, [True, True, False])
        assert there[-3:] == (10, b"3456", b"")
        with ThreadPoolExecutor(1) as pool:
            with without_the_last(server, schema):
                read = pool.submit(all_that_is_read, log)
                time.sleep(0.2)
                assert not read.done()
            assert read.result(WAIT_SECONDS) == there


def test_another_history_is_not_read(server, schema, two_transactions):
    with two_transactions() as log, two_transactions(read_only=True) as reader:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"update {schema}.log set id = 'another' where pos = 2")
        for each in (log, reader):
            with pytest.raises(HistoryLostError, match="another one"):
                each.load(Oid(1))


@pytest.mark.slow
def test_who_reads_on_from_a_standby_waits_until_it_has_what_was_read(schema):
    primary, standby = Server(), None
    try:
        primary.start()
        with PostgresLog(primary.dsn(), schema=schema) as log:
            commit(log, {0: b"0", 1: b"0"})
            standby = Server(primary)
            standby.start()
            hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
            uri = f"postgresql://{USER}@{hosts}/{USER}"
            with (
                PostgresLog(uri, schema=schema, read_only=True) as reader,
                psycopg.connect(standby.dsn(), autocommit=True) as connection,
            ):
                connection.execute("select pg_wal_replay_pause()")
                commit(log, {0: b"1", 1: b"1"})
                received = "select pg_last_wal_receive_lsn() >= %s::pg_lsn"
                with psycopg.connect(primary.dsn(), autocommit=True) as other:
                    written = other.execute("select pg_current_wal_lsn()").fetchone()
                while connection.execute(received, written).fetchone() != (True,):
                    time.sleep(0.02)
                catch_up(reader)
                assert data_of(reader, 0) == b"1"
                primary.kill()
                with ThreadPoolExecutor(1) as pool:
                    read = pool.submit(data_of, reader, 1)
                    time.sleep(0.5)
                    assert not read.done()
                    connection.execute("select pg_wal_replay_resume()")
                    assert read.result(WAIT_SECONDS) == b"1"
    finally:
        for each in (standby, primary):
            if each is not None:
                each.remove()
