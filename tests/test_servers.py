"""Real servers, a few hundred requests each: see ``benchmarks/servers.py``, which sends more."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import servers
from tests.helpers.processes import start

pytestmark = pytest.mark.slow

LOADED_BY_EACH_WORKER = {"gunicorn", "uwsgi-lazy-apps"}


@pytest.mark.parametrize("name", servers.SERVERS)
def test_no_request_is_lost_and_none_fails(tmp_path: Path, name: str) -> None:
    if not servers.is_installed(name):
        pytest.skip("pip install gunicorn pyuwsgi")

    figures = servers.serve(name, tmp_path, 200, start)

    assert figures["workers"] >= 2
    assert (figures["masters"] == 0) == (name in LOADED_BY_EACH_WORKER)
