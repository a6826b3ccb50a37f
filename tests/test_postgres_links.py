"""What may stand between a log in PostgreSQL and its processes: PgBouncer, TLS and passwords."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from datetime import timedelta

import pytest

import dobbin_like
from dobbin_like import Database, PersistentDict, checkout, cli
from dobbin_like.check import check_database
from dobbin_like.conformance import StorageTests
from dobbin_like.conformance.steps import commit, data_of
from dobbin_like.exc import Error, ServerUnavailableError
from tests.helpers import pgbouncer
from tests.helpers.counting import counted, counting
from tests.helpers.postgres_logs import pack_as_another
from tests.helpers.postgres_server import USER, Server, missing, new_schema
from tests.helpers.processes import python_path, start

if missing():
    pytest.skip(missing(), allow_module_level=True)

import psycopg

from dobbin_like.storage.postgres import PostgresLog

PATIENCE_SECONDS = 60.0


# -- PgBouncer that pools transactions ------------------------------------------------------


@pytest.fixture(scope="module")
def bouncer(server):
    if pgbouncer.missing():
        pytest.skip(pgbouncer.missing())
    # Each process that waits for its turn keeps one busy, and who has it reads by another one.
    bouncer = pgbouncer.PgBouncer(server.port, 7)
    try:
        bouncer.start()
        yield bouncer
    finally:
        bouncer.remove()


class TestThroughPgBouncer(StorageTests):
    @pytest.fixture(autouse=True)
    def _bouncer(self, bouncer):
        self.dsn = bouncer.dsn()

    def make(self):
        return PostgresLog(self.dsn, schema=new_schema(), prepare=False)

    def again(self, storage, **options):
        schema = storage._options.schema
        return PostgresLog(self.dsn, schema=schema, prepare=False, **options)

    def pack(self, storage):
        pack_as_another(storage)


def begun(uri, names):
    with dobbin_like.open(uri) as database, database.transaction():
        database.set_root(PersistentDict({"all": 0, **dict.fromkeys(names, 0)}))


@pytest.mark.slow
def test_processes_with_more_connections_than_the_pool_lose_nothing(bouncer, schema):
    uri, names = bouncer.uri(schema), "abcde"
    begun(uri, names)
    assert counted([counting(uri, name, 20) for name in names]) == [20] * 5
    with dobbin_like.open(uri, read_only=True) as database:
        assert database.root["all"] == 100
        check_database(database).raise_if_bad()


@pytest.mark.slow
def test_it_is_packed_through_a_pool_while_others_commit(bouncer, schema):
    uri, names = bouncer.uri(schema), "ab"
    begun(uri, names)
    counting_up = [counting(uri, name, 40) for name in names]
    dropped = 0
    with dobbin_like.open(uri) as database:
        while any(process.poll() is None for process in counting_up):
            dropped += database.pack(timedelta(0)).dropped.revisions
            database.transaction_manager.begin()
        assert counted(counting_up) == [40] * 2
        database.transaction_manager.begin()
        assert database.root["all"] == 80
        dropped += database.pack(timedelta(0)).dropped.revisions
        assert dropped == 80
        check_database(database).raise_if_bad()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bouncer", "server"])
def test_nothing_is_lost_or_done_twice_when_it_is_killed(server, bouncer, schema, what):
    uri, names = bouncer.uri(schema), "abc"
    killed = {"bouncer": bouncer, "server": server}[what]
    begun(uri, names)
    processes = [counting(uri, name, 100) for name in names]
    for process in processes:
        for _ in range(3):
            process.stdout.readline()
    for _ in range(2):
        killed.kill()
        time.sleep(0.2)
        killed.start()
        time.sleep(0.5)
    assert counted(processes) == [100] * 3
    with dobbin_like.open(uri, read_only=True) as database:
        assert database.root["all"] == 300
        assert [database.root[name] for name in names] == [100] * 3
        check_database(database).raise_if_bad()


def test_a_turn_is_kept_through_a_pool_and_ends_with_its_process(bouncer, schema):
    uri = bouncer.uri(schema)
    with contextlib.closing(PostgresLog(bouncer.dsn(), schema=schema, prepare=False)) as log:
        commit(log, {0: b"root"})
        program = (
            "import sys\n"
            "from dobbin_like.opening import open_storage\n"
            "log = open_storage(sys.argv[1])\n"
            "log.acquire()\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        process = start(
            [sys.executable, "-c", program, uri], env=python_path(), stdin=-1, stdout=-1
        )
        assert process.stdout.readline() == b"held\n"
        process.kill()
        process.communicate()
        commit(log, {0: b"again"})
        assert data_of(log, 0) == b"again"


def test_a_file_follows_through_a_pool(bouncer, schema, tmp_path):
    with contextlib.closing(PostgresLog(bouncer.dsn(), schema=schema, prepare=False)) as log:
        commit(log, {0: b"root"})
    command = ["follow", bouncer.uri(schema), str(tmp_path / "replica"), "--once", "--compare"]
    assert cli.run(command) == 0


# -- TLS, and a role with a password ---------------------------------------------------------

ROLE, PASSWORD = "shop", "b/i:g@secret"
QUOTED = "b%2Fi%3Ag%40secret"


def certificates(place, name):
    """Make an authority, and a key and a certificate of it for this machine; return its files."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

    new = "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"
    openssl(
        "req", "-x509", *new, "-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key",
        "-out", f"{name}.crt",
    )  # fmt: skip
    openssl("req", *new, "-subj", "/CN=localhost", "-keyout", "own.key", "-out", "own.csr")
    (place / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl(
        "x509", "-req", "-in", "own.csr", "-CA", f"{name}.crt", "-CAkey", f"{name}.key",
        "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "own.crt",
    )  # fmt: skip
    return place / f"{name}.crt", place / "own.crt", place / "own.key"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that takes passwords over TLS only, and the file of its authority."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl, which makes certificates")
    authority, certificate, key = certificates(tmp_path_factory.mktemp("tls"), "authority")
    server = Server(
        ssl="on",
        ssl_cert_file="'own.crt'",
        ssl_key_file="'own.key'",
        ssl_min_protocol_version="'TLSv1.3'",
        password_encryption="'scram-sha-256'",
    )
    try:
        server.give("own.crt", certificate.read_text())
        server.give("own.key", key.read_text())
        server.start()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"create role {ROLE} login password '{PASSWORD}'")
            connection.execute(f"grant create on database {USER} to {ROLE}")
        rules = f"host all {USER} 127.0.0.1/32 trust\nhostssl all {ROLE} all scram-sha-256\n"
        server.give("pg_hba.conf", rules)
        server.restart()
        yield server, authority
    finally:
        server.remove()


def uri_of(guarded, schema, password=QUOTED, **more):
    server, authority = guarded
    options = {"schema": schema, "sslmode": "verify-full", "sslrootcert": str(authority)} | more
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://{ROLE}:{password}@localhost:{server.port}/{USER}?{query}"


def test_a_log_is_used_over_tls_with_a_password(guarded, schema, tmp_path, capsys):
    uri = uri_of(guarded, schema, application_name=schema, channel_binding="require")
    with dobbin_like.open(uri) as database:
        with database.transaction():
            database.set_root(PersistentDict(n=1))
        with psycopg.connect(guarded[0].dsn()) as connection:
            query = (
                "select distinct version from pg_stat_ssl join pg_stat_activity using (pid) "
                "where application_name = %s"
            )
            assert connection.execute(query, [schema]).fetchall() == [("TLSv1.3",)]
        process = counting(uri, "n", 3)
        with database.transaction() as root:
            checkout(root)
            root["all"] = 0
        process.communicate(timeout=PATIENCE_SECONDS)
        guarded[0].kill()
        guarded[0].start()
        with database.transaction() as root:
            checkout(root)
            root["n"] = 7
    for command in (
        ["check", uri],
        ["follow", uri, str(tmp_path / "replica"), "--once"],
        ["info", uri],
    ):
        assert cli.run(command) == 0
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err
    with Database(tmp_path / "replica", read_only=True) as database:
        assert database.root["n"] == 7


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"password": ""}, "no password supplied"),
        ({"sslmode": "disable"}, "no pg_hba.conf entry"),
        ({"sslrootcert": "OTHER"}, "certificate verify failed"),
        ({"host": "127.0.0.1"}, 'does not match host name "127.0.0.1"'),
    ],
)
def test_what_is_not_safe_or_not_allowed_is_refused(
    guarded, schema, tmp_path, more, reason, capsys, caplog
):
    if more.get("sslrootcert") == "OTHER":
        more = {"sslrootcert": certificates(tmp_path, "another")[0]}
    uri = uri_of(guarded, schema, **more)
    with pytest.raises(ServerUnavailableError, match=reason) as caught:
        dobbin_like.open(uri)
    assert cli.run(["init", uri]) == 2
    told = capsys.readouterr().err
    assert reason in told
    for text in (told, str(caught.value), repr(caught.value), caplog.text):
        assert PASSWORD not in text
        assert QUOTED not in text


def test_a_password_is_in_no_path_and_no_error(guarded, schema):
    with dobbin_like.open(uri_of(guarded, schema)) as database:
        with database.transaction():
            database.set_root(PersistentDict())
        told = [database.storage.path, repr(database), repr(database.storage)]
        told += [str(value) for value in database.stats().as_dict().values()]
    try:
        database.root  # noqa: B018
    except Error as error:
        told += [str(error), repr(error)]
    for text in told:
        assert "secret" not in text


def test_a_role_that_may_not_make_tables_uses_those_that_are_there(guarded, schema):
    server, _ = guarded
    uri = uri_of(guarded, schema)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        PostgresLog(server.dsn(), schema=schema).close()
        connection.execute(f"revoke create on database {USER} from {ROLE}")
        try:
            with pytest.raises(ServerUnavailableError, match="permission denied"):
                dobbin_like.open(uri)
            connection.execute(f"grant usage on schema {schema} to {ROLE}")
            connection.execute(
                f"grant select, insert, update, delete on all tables in schema {schema} to {ROLE}"
            )
            with dobbin_like.open(uri) as database, database.transaction():
                database.set_root(PersistentDict(n=1))
            with pytest.raises(ServerUnavailableError, match="permission denied"):
                dobbin_like.open(uri_of(guarded, f"{schema}_new"))
        finally:
            connection.execute(f"grant create on database {USER} to {ROLE}")
