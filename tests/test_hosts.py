"""Two hosts that share a log: network namespaces, one of which is cut off while both commit."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import time

import pytest

import dobbin_like
from dobbin_like import PersistentDict
from dobbin_like.check import check_database
from dobbin_like.demo.questions import inconsistencies
from tests.helpers.counting import COUNT
from tests.helpers.postgres_server import USER, Server, missing
from tests.helpers.processes import python_path, start

if missing():
    pytest.skip(missing(), allow_module_level=True)
if os.getuid() or not shutil.which("ip"):
    text = "hosts are network namespaces: that takes root, and ip (iproute2)"
    pytest.skip(text, allow_module_level=True)

# Of the range for benchmarks (RFC 2544), for this process alone: two networks at one address
# would take each other's packets.
NET = f"198.{18 + (os.getpid() >> 8 & 1)}.{os.getpid() & 255}"
PATIENCE_SECONDS = 180.0
CUT_SECONDS = 12  # After 10, a connection counts as lost.


def ip(words):
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


_cables = itertools.count()


class Host:
    """A network namespace with one cable to the switch."""

    def __init__(self, number):
        self.name = f"dobbin{os.getpid()}h{number}"
        # A new name: cables go a moment after their namespaces.
        self.cable = f"dob{next(_cables)}x{os.getpid() % 100_000}"
        self.address = f"{NET}.{number + 10}"

    def plug_in(self, switch):
        inside = f"{self.cable}i"
        ip(f"netns add {self.name}")
        ip(f"link add {self.cable} type veth peer name {inside} netns {self.name}")
        ip(f"link set {self.cable} master {switch} up")
        for words in (f"addr add {self.address}/24 dev {inside}", f"link set {inside} up"):
            ip(f"-n {self.name} {words}")

    def start(self, *command):
        command = ["ip", "netns", "exec", self.name, sys.executable, *command]
        return start(command, env=python_path(), stdin=-1, stdout=-1, stderr=-1, text=True)

    def cut_off(self, *, cut):
        ip(f"link set {self.cable} {'down' if cut else 'up'}")


@pytest.fixture
def hosts():
    """Two hosts, on a switch on which this machine has an address, too."""
    switch = f"dobs{os.getpid() % 100_000}"
    both = [Host(number) for number in range(2)]
    with contextlib.ExitStack() as ends:
        try:
            ip(f"link add {switch} type bridge")
            ends.callback(ip, f"link del {switch}")
            ip(f"addr add {NET}.1/24 dev {switch}")
            ip(f"link set {switch} up")
            for host in both:
                ends.callback(ip, f"netns del {host.name}")
                host.plug_in(switch)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"there can be no network namespaces here: {error.stderr.decode()}")
        yield both


@pytest.fixture
def server():
    server = Server(listen_addresses="'*'")
    try:
        server.give("pg_hba.conf", "host all all all trust\n")
        server.start()
        yield server
    finally:
        server.remove()


def modules(place, count):
    """Write Python files for the demo to parse."""
    place.mkdir()
    for number in range(count):
        lines = [f'"""The module {number}."""', f"import m{number // 2}"]
        lines += [
            f"class C{each}(m{number // 2}.C{each}):\n    def f(self): ..." for each in "abc"
        ]
        (place / f"m{number}.py").write_text("\n".join(lines))
    return place


def wait_for(server, schema):
    """Return when a program on each host has asked for something of *schema*: it has begun."""
    import psycopg

    text = (
        "select count(distinct client_addr) from pg_stat_activity "
        "where query like %s and host(client_addr) like %s"
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(server.dsn(), autocommit=True) as line:
        while line.execute(text, (f'%"{schema}"%', f"{NET}.%")).fetchone() != (2,):
            assert time.monotonic() < deadline, "the programs have not begun"
            time.sleep(0.05)


COMMIT = """
import sys
import dobbin_like
with dobbin_like.open(sys.argv[1]) as database:
    with database.transaction() as root:
        dobbin_like.checkout(root)
        root["all"] += 1
        print("changed", flush=True)
        sys.stdin.readline()
    with database.reading() as root:
        print("committed", root["all"], flush=True)
"""


@pytest.mark.slow
def test_a_network_that_is_silent_during_a_commit_is_no_refusal(hosts, server):
    uri = f"postgresql://{USER}@{NET}.1:{server.port}/{USER}?schema=silent"
    with dobbin_like.open(uri) as database, database.transaction():
        database.set_root(PersistentDict(all=0))
    process = hosts[0].start("-c", COMMIT, f"{uri}&tcp_user_timeout=1000")
    assert process.stdout.readline() == "changed\n"

    hosts[0].cut_off(cut=True)
    process.stdin.write("\n")
    process.stdin.flush()
    time.sleep(4)
    hosts[0].cut_off(cut=False)

    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (out, process.returncode) == ("committed 1\n", 0), err


@pytest.mark.slow
def test_what_was_acknowledged_is_there_after_a_cut_and_the_death_of_the_primary(
    hosts, server, tmp_path
):
    def uri(schema):
        return f"postgresql://{USER}@{NET}.1:{server.port}/{USER}?schema={schema}"

    source = modules(tmp_path / "source", 80)
    with dobbin_like.open(uri("counts")) as database, database.transaction():
        database.set_root(PersistentDict(all=0, h0=0, h1=0))
    demo = "-m", "dobbin_like", "demo", uri("demo"), "--workers", "2", "--source", str(source)
    demos = [host.start(*demo) for host in hosts]
    counts = [
        host.start("-c", COUNT, uri("counts"), f"h{number}") for number, host in enumerate(hosts)
    ]
    for process in counts:
        process.stdin.write("2000\n")
        process.stdin.flush()
        assert process.stdout.readline() == "1\n"

    wait_for(server, "demo")

    hosts[1].cut_off(cut=True)
    time.sleep(CUT_SECONDS)
    hosts[1].cut_off(cut=False)
    time.sleep(1)
    server.kill()
    time.sleep(1)
    server.start()
    time.sleep(2)

    acknowledged = []
    for process in counts:
        process.terminate()
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        acknowledged.append(int(out.split()[-1]))
    for host, process in zip(hosts, demos, strict=True):
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        if "the server can't be used" in err:
            # Who just opens the log, at the beginning or to check it, is told at once.
            process = host.start(*demo)  # noqa: PLW2901  The same command continues.
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, (out[-3000:], err[-3000:])
        assert "Found: no problems." in out
    with dobbin_like.open(uri("counts"), read_only=True) as database:
        found = [database.root[f"h{number}"] for number in range(2)]
        # The last one may have been committed without a word of it.
        assert all(0 <= there - told <= 1 for there, told in zip(found, acknowledged, strict=True))
        assert database.root["all"] == sum(found)
        assert min(acknowledged) > 1
        check_database(database).raise_if_bad()
    with dobbin_like.open(uri("demo"), allow=["dobbin_like.demo.*"], read_only=True) as database:
        assert database.root.is_complete
        assert [*inconsistencies(database.root)] == []
        check_database(database).raise_if_bad()
