"""What the administrator of a PostgreSQL server may set, for all, for a role or for a database."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import transaction

from dobbin_like import Database, PersistentDict, checkout, cli
from dobbin_like.check import check_database
from dobbin_like.conformance.steps import catch_up, commit, data_of
from dobbin_like.exc import ServerUnavailableError
from tests.helpers.postgres_logs import in_another_process
from tests.helpers.postgres_server import USER, Server, missing, serials

if missing():
    pytest.skip(missing(), allow_module_level=True)

import psycopg

from dobbin_like.storage.postgres import PostgresLog
from dobbin_like.storages.postgres.cache import update

LIMIT = "options='-c statement_timeout=150'"
LONGER_SECONDS = 0.5


@contextlib.contextmanager
def asking(server):
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        yield connection


@contextlib.contextmanager
def locked_for_long(server, statement):
    """Keep something locked for longer than a statement may take."""
    with psycopg.connect(server.dsn()) as connection:
        connection.execute(statement)
        timer = threading.Timer(LONGER_SECONDS, connection.rollback)
        timer.start()
        yield
        timer.join()


def set_n(root, n):
    checkout(root)
    root["n"] = n


def use(dsn, schema):
    """Commit, pack, open it again, and check it."""
    for n in range(2):
        log = PostgresLog(dsn, schema=schema)
        with Database(log, transaction_manager=transaction.TransactionManager()) as database:
            if not n:
                database.run(
                    lambda: database.set_root(PersistentDict(n=-1, other=PersistentDict()))
                )
            for _ in range(2):
                database.run(lambda: set_n(database.root, database.root["n"] + 1))
            assert database.pack(keep=timedelta(0)).packed
            assert database.root["n"] == 2 * n + 1
            check_database(database).raise_if_bad()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_has_another_encoding(server, encoding):
    name = f"encoded{next(serials)}"
    with asking(server) as connection:
        connection.execute(
            f"create database {name} encoding '{encoding}' template template0 locale 'C'"
        )
    use(f"{server.dsn()} dbname={name}", "schön")


@pytest.mark.parametrize(
    "setting",
    [
        "client_encoding=latin1",
        "options='-c standard_conforming_strings=off'",
        "options='-c default_transaction_isolation=serializable'",
        "options='-c bytea_output=escape -c DateStyle=SQL,DMY -c TimeZone=Asia/Kolkata'",
        "options='-c search_path='",
    ],
)
def test_a_role_has_other_settings(server, schema, setting):
    use(f"{server.dsn()} {setting}", f"{schema}ö")


def test_a_role_makes_tables_in_a_schema_though_it_may_make_no_schemas(server, schema):
    with asking(server) as connection:
        connection.execute(f"create role {schema} login")
        connection.execute(f"create schema {schema} authorization {schema}")
        dsn = server.dsn().replace(f"user={USER}", f"user={schema}")
        use(dsn, schema)
        with pytest.raises(ServerUnavailableError, match="permission denied for database"):
            PostgresLog(dsn, schema=f"{schema}_other")


def test_who_waits_for_its_turn_may_wait_longer_than_a_statement_may_take(server, schema):
    with (
        PostgresLog(f"{server.dsn()} {LIMIT}", schema=schema) as log,
        PostgresLog(server.dsn(), schema=schema) as other,
        in_another_process(other),
    ):
        commit(log, {0: b"0"})
        catch_up(other)
        with locked_for_long(server, f"select 1 from {schema}.meta for update"):
            commit(log, {0: b"1"})
        catch_up(other)
        assert data_of(other, 0) == b"1"


def test_a_pack_may_take_longer_than_a_statement_may(server, schema):
    log = PostgresLog(f"{server.dsn()} {LIMIT}", schema=schema)
    with Database(log, transaction_manager=transaction.TransactionManager()) as database:
        database.run(lambda: database.set_root(PersistentDict(n=0)))
        database.run(lambda: set_n(database.root, 1))
        with locked_for_long(server, f"lock table {schema}.version in share mode"):
            assert database.pack(keep=timedelta(0)).dropped.revisions == 1


def test_a_cache_may_take_longer_than_a_statement_may(
    server, schema, tmp_path, monkeypatch, caplog
):
    def slowly(rows):
        time.sleep(LONGER_SECONDS)
        return blocks(rows)

    blocks = update._blocks
    data = bytes(64 << 10)
    with PostgresLog(server.dsn(), schema=schema) as log:
        commit(log, dict.fromkeys(range(300), data))
    monkeypatch.setattr(update, "_blocks", slowly)
    monkeypatch.setattr(update, "_ROWS", 100)
    dsn = f"{server.dsn()} {LIMIT}"
    with PostgresLog(dsn, schema=schema, cache=tmp_path / "cache") as log:
        assert log._cache is not None
        assert log._cache.has(299)
        assert data_of(log, 299) == data


def test_a_server_that_only_reads_is_told_to_do_so(server, schema):
    dsn = f"{server.dsn()} options='-c default_transaction_read_only=on'"
    PostgresLog(server.dsn(), schema=schema).close()
    with (
        PostgresLog(dsn, schema=schema, patience=1) as log,
        pytest.raises(ServerUnavailableError, match=r"it is a standby, or .* say read_only"),
    ):
        commit(log, {0: b"0"})


def test_a_standby_of_a_server_with_a_higher_isolation_is_read(schema):
    with contextlib.ExitStack() as ends:
        server = Server()
        ends.callback(server.remove)
        server.start()
        with asking(server) as connection:
            connection.execute(
                f"alter database {USER} set default_transaction_isolation = serializable"
            )
        with PostgresLog(server.dsn(), schema=schema) as log:
            commit(log, {0: b"0"})
        standby = Server(server)
        ends.callback(standby.remove)
        standby.start()
        with PostgresLog(standby.dsn(), schema=schema, read_only=True, patience=10) as log:
            assert data_of(log, 0) == b"0"


def test_rows_that_a_policy_hides_are_not_taken_to_be_missing(server, schema):
    with asking(server) as connection, PostgresLog(server.dsn(), schema=schema) as log:
        commit(log, {0: b"0"})
        connection.execute(f"create role {schema} login")
        connection.execute(f"grant usage on schema {schema} to {schema}")
        connection.execute(f"grant select on all tables in schema {schema} to {schema}")
        connection.execute(f"alter table {schema}.version enable row level security")
        dsn = server.dsn().replace(f"user={USER}", f"user={schema}")
        with pytest.raises(ServerUnavailableError, match="row-level security policy"):
            PostgresLog(dsn, schema=schema, read_only=True)
        commit(log, {0: b"1"})


def test_who_has_no_patience_waits_for_an_answer_all_the_same(server, schema):
    with PostgresLog(server.dsn(), schema=schema, patience=0) as log:
        for n in range(20):
            commit(log, {0: b"%d" % n})
            assert data_of(log, 0) == b"%d" % n


def keepalive_seconds(server, port):
    """Return after how long the server asks whether who is at *port* is still there; None: never.

    As the kernel tells: the addresses of both ends, and the timer that is running.
    """
    addresses = [f"0100007F:{each:04X}" for each in (server.port, port)]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    [timer] = [line[5] for line in lines if line[1:3] == addresses]
    kind, _, ticks = timer.partition(":")
    return int(ticks, 16) / os.sysconf("SC_CLK_TCK") if kind == "02" else None


def test_the_server_notices_soon_that_a_machine_is_gone(server, schema):
    """Else it keeps its connections, and the lock of a pack, for two hours."""
    with PostgresLog(server.dsn(), schema=schema) as log:
        with socket.socket(fileno=os.dup(log._lines._idle[0].fileno())) as ours:
            port = ours.getsockname()[1]
        until = time.monotonic() + 2
        # Until the last answer is acknowledged, another timer is running.
        while (seconds := keepalive_seconds(server, port)) is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert seconds <= 6


# -- passwords that are not quoted -----------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("postgresql://shop:sec/ret@localhost/shop", "a port is no number"),
        ("postgresql://shop:secret@ret@localhost/shop", "an @ in a host"),
        ("postgresql://shop:secret%zz@localhost/shop", "invalid percent-encoded token$"),
        ("postgresql://shop@localhost/shop?password=secret&usr=x", "query parameter: usr$"),
    ],
)
def test_what_may_be_of_a_password_is_not_told(address, reason, capsys):
    with pytest.raises(ValueError, match=reason) as caught:
        PostgresLog(address)
    assert caught.value.__cause__ is None
    assert cli.run(["info", address]) == 2
    printed = capsys.readouterr()
    assert "special characters of a password" in printed.err
    for text in (str(caught.value), printed.out + printed.err):
        assert "sec" not in text.replace("seconds", "")
        assert "ret@" not in text


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("shop:secret@localhost/shop", "missing = after$"),
        ("user=shop password='secret", "unterminated quoted string in connection info string$"),
        ("user=shop pasword=secret", "invalid connection option pasword$"),
    ],
)
def test_an_address_that_is_no_uri_is_not_told_either(address, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        PostgresLog(address)
    assert "secret" not in str(caught.value)
