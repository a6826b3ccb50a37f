"""A Celery application whose tasks write to one database, as a user would write it.

The database is opened where the module is imported: in the master, before it forks its workers.
Messages are files in a directory, so that no broker is needed.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

from dobbin_like import Database, PersistentDict, checkout

directory = Path(os.environ["CELERY_APP_DIRECTORY"])
messages = directory / "messages"
for name in ("queue", "processed", "control"):
    (messages / name).mkdir(parents=True, exist_ok=True)

app = Celery("celery_app", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(messages / "queue"),
        "data_folder_out": str(messages / "queue"),
        "processed_folder": str(messages / "processed"),
        "control_folder": str(messages / "control"),
        "polling_interval": 0.02,
    },
    task_acks_late=True,
    worker_prefetch_multiplier=8,
)

database = Database(directory / "orders.log")
with database.transaction():
    if database.root is None:
        database.set_root(PersistentDict(master=os.getpid(), orders=PersistentDict()))


@app.task
def order(number: int) -> None:
    note(number)


@database.transactional(retry=50)
def note(number: int) -> None:
    """Note that an order was carried out, and by which process."""
    orders = database.root["orders"]
    checkout(orders)
    orders[number] = [*orders.get(number, []), os.getpid()]
