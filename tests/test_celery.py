"""A real Celery worker that forks its processes from one that has opened the database."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dobbin_like import Database
from dobbin_like.check import check_log
from tests.helpers.processes import start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("celery") is None, reason="pip install celery"),
]

ROOT = Path(__file__).resolve().parent.parent
TASKS = 60
WAIT_SECONDS = 120.0

_SEND = f"""
from benchmarks.celery_app import order
for number in range({TASKS}):
    order.delay(number)
"""


def noted(database: Database) -> dict[int, list[int]]:
    with database.reading() as root:
        return {number: list(pids) for number, pids in root["orders"].items()}


def test_each_task_of_the_forked_workers_is_stored_once(tmp_path: Path) -> None:
    environment = {**os.environ, "CELERY_APP_DIRECTORY": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _SEND], cwd=ROOT, env=environment, check=True)
    command = "-m celery -A benchmarks.celery_app worker --pool prefork --concurrency 2"
    output = (tmp_path / "output.txt").open("wb")
    with output, Database(tmp_path / "orders.log") as database:
        worker = start(
            [sys.executable, *command.split(), "--without-mingle", "--without-gossip"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + WAIT_SECONDS
        while len(noted(database)) < TASKS and time.monotonic() < deadline:
            assert worker.poll() is None, (tmp_path / "output.txt").read_text()
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)  # It finishes what it does.
        worker.wait(WAIT_SECONDS)
        orders = noted(database)

        assert sorted(orders) == list(range(TASKS)), (tmp_path / "output.txt").read_text()
        assert {len(pids) for pids in orders.values()} == {1}
        assert worker.pid not in {pid for pids in orders.values() for pid in pids}
    assert not check_log(tmp_path / "orders.log").problems
