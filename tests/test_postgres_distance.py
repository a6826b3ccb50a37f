"""A log in PostgreSQL over a slow network, and on machines whose clocks differ."""

from __future__ import annotations

import contextlib

import pytest

import dobbin_like
from dobbin_like import PersistentDict
from dobbin_like.check import check_database
from tests.helpers.counting import counted, counting
from tests.helpers.postgres_server import missing
from tests.helpers.slow_proxy import SlowProxy

if missing():
    pytest.skip(missing(), allow_module_level=True)

from dobbin_like.timestamps import now

HOUR = 3600


def counted_by(uri, clocks, times, schema_uri):
    """Let processes with these clocks count in one log; return the tids of what they committed."""
    names = [f"p{number}" for number in range(len(clocks))]
    with dobbin_like.open(schema_uri) as database, database.transaction():
        database.set_root(PersistentDict({"all": 0, **dict.fromkeys(names, 0)}))
    counts = [
        counting(uri, name, times, ahead=clock) for name, clock in zip(names, clocks, strict=True)
    ]
    assert counted(counts) == [times] * len(names)
    with dobbin_like.open(schema_uri, read_only=True) as database:
        root = database.root
        assert [root[name] for name in names] == [times] * len(names)
        assert root["all"] == times * len(names)
        check_database(database).raise_if_bad()
        return [logged.tid for logged in database.storage.transactions()]


@pytest.mark.slow
def test_a_slow_network_changes_nothing_but_the_time(server, schema):
    with contextlib.closing(SlowProxy(server.port, 0.02)) as slow:
        near = server.uri(schema)
        far = near.replace(f":{server.port}/", f":{slow.port}/")
        assert far != near
        counted_by(far, [0, 0, 0], 15, near)


@pytest.mark.slow
@pytest.mark.parametrize(
    "clocks", [[0, -HOUR], [0, HOUR], [-HOUR, HOUR, 0]], ids=["behind", "ahead", "both"]
)
def test_machines_with_different_clocks_share_a_log(server, schema, clocks, caplog):
    uri = server.uri(schema)
    begun = now()
    tids = counted_by(uri, clocks, 25, uri)
    assert tids == sorted(set(tids))
    assert len(tids) >= 1 + 25 * len(clocks)
    assert (tids[-1] > begun + HOUR * 900_000) == (HOUR in clocks)
    told = [record for record in caplog.records if "a clock was ahead" in record.getMessage()]
    assert len(told) == (HOUR in clocks)  # By the one that was opened to look.
