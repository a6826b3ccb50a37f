"""The page of ``examples/counter.py`` on SQLite, a connection for each thread."""

from __future__ import annotations

import os
import sqlite3
import threading

from flask import Flask

app = Flask(__name__)


class _Own(threading.local):
    def __init__(self) -> None:
        self.connection = sqlite3.connect(
            os.environ["COUNTER"], timeout=60, isolation_level=None, check_same_thread=False
        )
        self.connection.execute("PRAGMA synchronous=FULL")


own = _Own()
own.connection.execute("PRAGMA journal_mode=WAL")
own.connection.execute("CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, visits)")
own.connection.execute("INSERT OR IGNORE INTO counter VALUES (1, 0)")


@app.post("/")
def visit() -> str:
    own.connection.execute("BEGIN IMMEDIATE")
    own.connection.execute("UPDATE counter SET visits = visits + 1")
    (number,) = own.connection.execute("SELECT visits FROM counter").fetchone()
    own.connection.execute("COMMIT")
    return str(number)


@app.get("/")
def show() -> str:
    (number,) = own.connection.execute("SELECT visits FROM counter").fetchone()
    return str(number)
