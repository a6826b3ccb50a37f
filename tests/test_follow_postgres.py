"""A file that follows a log in PostgreSQL, on a server that is started here."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import time

import pytest
import transaction

from dobbin_like import Database, PersistentDict, PersistentFile, checkout
from dobbin_like.check import check_log
from dobbin_like.cli import run
from dobbin_like.conformance.steps import commit, data_of
from dobbin_like.exc import DivergedError, HistoryLostError
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.copy import copy_transactions
from dobbin_like.upkeep.follow import Follower
from tests.helpers.following import followers
from tests.helpers.histories import check_copy, check_same, written
from tests.helpers.postgres_logs import take_back
from tests.helpers.postgres_server import USER, Server, missing, serials

if missing():
    pytest.skip(missing(), allow_module_level=True)

import psycopg

from dobbin_like.opening import open_storage
from dobbin_like.storage.postgres import PostgresLog

PATIENCE_SECONDS = 60.0


@pytest.fixture
def replica(tmp_path):
    return tmp_path / "shop.replica"


@pytest.fixture
def following(replica):
    """Start the command with a URI and options."""
    with followers() as begin:
        yield lambda uri, *options: begin(uri, replica, *options)


def until_there(process, count):
    """Return when *process* has told that so many transactions are there."""
    while json.loads(process.stdout.readline())["transactions"] < count:
        pass


def check_replica(source, path):
    with TransactionLog(path, read_only=True) as log:
        check_same(source, log)


def test_everything_comes_and_then_what_is_new(server, schema, path, replica, capsys):
    uri = server.uri(schema)
    with (
        written(TransactionLog(path, sync=False)) as log,
        PostgresLog(server.dsn(), schema=schema) as source,
    ):
        copy_transactions(log, source)
        assert run(["follow", uri, str(replica), "--once", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["copied"] == len(log)
        check_replica(source, replica)
        check_copy(log, TransactionLog(replica, read_only=True))
        check_log(replica).raise_if_bad()
        commit(source, {50: b"later"})
        assert run(["follow", uri, str(replica), "--once", "--json", "--compare"]) == 0
        assert json.loads(capsys.readouterr().out)["copied"] == 1
        check_replica(source, replica)


@pytest.mark.slow
def test_killed_again_and_again_while_somebody_commits_it_has_all(
    server, schema, replica, following
):
    uri = server.uri(schema)
    with Database(PostgresLog(server.dsn(), schema=schema)) as database:
        with database.transaction():
            database.set_root(PersistentDict())
        for number in range(4):
            process = following(uri, "--interval", "0.01", "--json")
            process.stdout.readline()
            for _ in range(10 * number):
                with database.transaction() as root:
                    checkout(root)
                    root[number] = PersistentFile(io.BytesIO(b"x" * 100_000))
            process.kill()
            process.wait(PATIENCE_SECONDS)
        assert run(["follow", uri, str(replica), "--once", "--compare"]) == 0
        check_replica(database.storage, replica)
        check_log(replica).raise_if_bad()


@pytest.mark.slow
def test_a_server_that_goes_and_comes_back_is_waited_for(server, schema, replica, following):
    with PostgresLog(server.dsn(), schema=schema) as source:
        commit(source, {0: b"root"})
        process = following(server.uri(schema) + "&patience=0.2", "--json")
        until_there(process, 1)
        server.kill()
        try:
            assert "waiting for it" in process.stderr.readline()
        finally:
            server.start()
        commit(source, {0: b"again"})
        assert "is there again" in process.stderr.readline()
        until_there(process, 2)
        server.restart()
        commit(source, {0: b"at last"})
        until_there(process, 3)
        with TransactionLog(replica, read_only=True) as log:
            assert data_of(log, 0) == b"at last"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_a_server_that_is_not_there_at_the_beginning_is_told(server, replica, capsys):
    uri = f"postgresql://{USER}@127.0.0.1:1/{USER}?patience=0.1"
    assert run(["follow", uri, str(replica)]) == 2
    assert "the server can't be used" in capsys.readouterr().err
    assert run(["follow", server.uri("none"), str(replica)]) == 2
    assert "there are no tables of a log" in capsys.readouterr().err
    assert not replica.exists()


def test_a_log_that_was_made_anew_is_told(server, schema, replica, capsys):
    with PostgresLog(server.dsn(), schema=schema) as source:
        commit(source, {0: b"root"})
    assert run(["follow", server.uri(schema), str(replica), "--once"]) == 0
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"drop schema {schema} cascade")
    for commits in range(3):
        with PostgresLog(server.dsn(), schema=schema) as source:
            for _ in range(commits):
                commit(source, {0: b"another"})
        assert run(["follow", server.uri(schema), str(replica), "--once"]) == 1
        assert "its last transaction is not in the source" in capsys.readouterr().err
    with TransactionLog(replica, read_only=True) as log:
        assert data_of(log, 0) == b"root"


def test_history_that_is_lost_meanwhile_is_noticed_at_once(server, schema, replica):
    with (
        PostgresLog(server.dsn(), schema=schema) as log,
        contextlib.closing(open_storage(server.uri(schema))) as source,
        Follower(source, replica) as follower,
    ):
        for number in range(3):
            commit(log, {0: b"%d" % number})
        follower.catch_up()
        take_back(server, schema, 2)
        with pytest.raises(HistoryLostError):
            follower.catch_up()
        with PostgresLog(server.dsn(), schema=schema) as after:
            commit(after, {0: b"another"})
            commit(after, {0: b"and another"})
        with pytest.raises(HistoryLostError):
            follower.catch_up()
        with contextlib.closing(open_storage(server.uri(schema))) as new:
            follower.close()
            with pytest.raises(DivergedError, match="its last transaction is") as caught:
                Follower(new, replica)
    with TransactionLog(replica, read_only=True) as log:
        assert [logged.tid for logged in log.transactions()][1] == caught.value.common


@pytest.mark.slow
def test_a_failover_that_has_lost_what_was_copied_is_told(schema, replica, following):
    """The standby did not have the last transactions, and takes the place of the primary."""
    primary = Server()
    standby = None
    try:
        primary.start()
        with PostgresLog(primary.dsn(), schema=schema, patience=5) as log:
            commit(log, {0: b"0"})
            standby = Server(primary)
            standby.start()
            commit(log, {0: b"1"})
            with psycopg.connect(standby.dsn(), autocommit=True) as connection:
                query = f"select count(*) from {schema}.log"
                while connection.execute(query).fetchone() != (3,):
                    time.sleep(0.02)
            standby.kill()
            hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
            uri = (
                f"postgresql://{USER}@{hosts}/{USER}?schema={schema}&patience=1"
                "&target_session_attrs=read-write"
            )
            process = following(uri, "--json", "--interval", "0.05")
            until_there(process, 2)
            commit(log, {0: b"lost"})
            until_there(process, 3)
        primary.kill()
        standby.start()
        with psycopg.connect(standby.dsn(), autocommit=True) as connection:
            connection.execute("select pg_promote()")
        with PostgresLog(standby.dsn(), schema=schema) as log:
            commit(log, {0: b"instead"})
        assert process.wait(PATIENCE_SECONDS) == 1
        told = process.stderr.read()
        assert "its last transaction is not in the source" in told
        with TransactionLog(replica, read_only=True) as log:
            assert data_of(log, 0) == b"lost"
        assert run(["follow", uri, f"{replica}.2", "--once"]) == 0
    finally:
        for each in (primary, standby):
            if each is not None:
                each.remove()


@pytest.mark.slow
def test_a_standby_is_followed_as_well(schema, replica):
    primary = Server()
    standby = None
    try:
        primary.start()
        standby = Server(primary)
        standby.start()
        with PostgresLog(primary.dsn(), schema=schema) as log:
            for number in range(3):
                commit(log, {0: b"%d" % number})
            uri = f"{standby.uri(schema)}&read_only=yes"
            until = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < until:
                # Until the tables have come, it is refused.
                if run(["follow", uri, str(replica), "--once"]) == 0:
                    with TransactionLog(replica, read_only=True) as found:
                        if len(found) == len(log):
                            break
                time.sleep(0.05)
            check_replica(log, replica)
    finally:
        for each in (standby, primary):
            if each is not None:
                each.remove()


def test_a_role_that_may_only_read_is_enough(server, schema, replica):
    role = f"reader{next(serials)}"
    with PostgresLog(server.dsn(), schema=schema) as log:
        commit(log, {0: b"root"})
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"create role {role} login")
            connection.execute(f"grant usage on schema {schema} to {role}")
            connection.execute(f"grant select on all tables in schema {schema} to {role}")
        uri = server.uri(schema).replace(f"//{USER}@", f"//{role}@")
        assert run(["follow", uri, str(replica), "--once"]) == 0
        check_replica(log, replica)


def test_transactions_of_many_objects_and_large_files_come_whole(server, schema, replica):
    log = PostgresLog(server.dsn(), schema=schema)
    with Database(log, transaction_manager=transaction.TransactionManager()) as database:
        with database.transaction():
            many = {number: PersistentDict(number=number) for number in range(1000)}
            database.set_root(PersistentDict(many))
        with database.transaction() as root:
            checkout(root)
            root["file"] = PersistentFile(io.BytesIO(bytes(range(256)) * 20_000))
        assert run(["follow", server.uri(schema), str(replica), "--once"]) == 0
        check_replica(database.storage, replica)
