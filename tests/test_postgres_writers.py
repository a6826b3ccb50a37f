"""The benchmark of writers to PostgreSQL ends, and tells, whatever becomes of its writers."""

from __future__ import annotations

import io

import pytest

from benchmarks import postgres_writers
from tests.helpers.postgres_server import missing

if missing():
    pytest.skip(missing(), allow_module_level=True)


@pytest.mark.slow
def test_it_runs(server, capsys):
    postgres_writers.main(server.dsn(), shapes=((2, 2), (1, 1)), rounds=1, seconds=0.05)

    out = capsys.readouterr().out
    assert "2 processes of  2 threads  ours" in out
    assert "1 processes of  1 threads  ours" in out


@pytest.mark.slow
def test_a_process_that_fails_is_told_and_the_others_end(server):
    """There is nothing for its last writer: the thread never was ready, and was waited for."""
    shapes = ((2, postgres_writers.MOST // 2 + 1),)
    with pytest.raises(AssertionError, match="has failed"):
        postgres_writers.main(server.dsn(), shapes=shapes, rounds=1, seconds=0.05)


class Broken:
    """A store of which one thread fails, at a certain count."""

    def __init__(self, at):
        self._at = at

    def writer(self, number):
        def commit(count):
            if number == 1 and count == self._at:
                raise ValueError("refused")

        return commit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("at", "error"), [(0, "BrokenBarrierError"), (1, "AssertionError")])
def test_a_thread_that_fails_keeps_nobody_waiting(at, error, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("go\n"))
    with pytest.raises((AssertionError, RuntimeError)) as caught:
        postgres_writers.write(Broken(at), 0, 3, 0.01)

    assert caught.typename == error
    assert ("ready" in capsys.readouterr().out) == bool(at)


def test_what_is_not_there_afterwards_is_told():
    postgres_writers.compare([(0, 5, 1.0), (2, 3, 1.0)], [5, 0, 3])
    with pytest.raises(AssertionError, match="2: 2 is there, not 3"):
        postgres_writers.compare([(0, 5, 1.0), (2, 3, 1.0)], [5, 0, 2])
