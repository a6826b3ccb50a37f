"""A queue of jobs: a page takes them in, other processes do them. Without a framework.

::

    pip install dobbin_like gunicorn
    gunicorn --workers 2 --threads 4 jobs:app
    python jobs.py  # Does them; start as many as there is work for.

``POST /`` takes in its body, a text to be counted, and answers with the name of the job;
``GET /<name>`` tells the number of its words. Jobs are kept in ``jobs.log``, or in the file that
the environment has as ``JOBS``. A job is done once, also if a process is killed while it does it.
"""

import os
import uuid
from collections.abc import Callable, Iterable
from queue import Empty
from typing import Any

import dobbin_like
from dobbin_like import PersistentDict, PersistentQueue, checkout
from dobbin_like.web.root import set_first_root
from dobbin_like.web.wsgi import WsgiTransactions

db = dobbin_like.open(os.environ.get("JOBS", "jobs.log"))
set_first_root(db, lambda: PersistentDict(waiting=PersistentQueue(), done=PersistentDict()))


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        return take_in(environ["wsgi.input"].read().decode(), start_response)
    words = db.root["done"].get(environ["PATH_INFO"].strip("/"))
    start_response("404 Not Found" if words is None else "200 OK", [])
    return [b"not yet" if words is None else str(words).encode()]


def take_in(text: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    name = uuid.uuid4().hex
    waiting = db.root["waiting"]
    checkout(waiting)
    waiting.put((name, text))
    start_response("201 Created", [])
    return [name.encode()]


app = WsgiTransactions(answer, db)


def do_one() -> bool:
    """Do the oldest job; return False if there is none."""
    waiting, done = db.root["waiting"], db.root["done"]
    checkout(waiting, done)
    try:
        name, text = waiting.get()
    except Empty:
        return False
    done[name] = len(text.split())
    return True


def main() -> None:
    while True:
        if not db.run(do_one):
            db.wait(db.tid + 1, timeout=5)


if __name__ == "__main__":
    main()
