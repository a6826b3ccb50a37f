"""A queue of jobs: a page takes them in, other processes do them. Without a framework.

::

    pip install dobbin_like gunicorn
    gunicorn --workers 2 --threads 4 jobs:app
    python jobs.py  # Does them; start as many as there is work for.

``POST /`` takes in its body, a text to be counted, and answers with the name of the job;
``GET /<name>`` tells the number of its words. Jobs are kept in ``jobs.log``, or in the file that
the environment has as ``JOBS``. If a worker is killed, another one does its job a minute later;
what has become of a job is stored once.
"""

import logging
import os
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import dobbin_like
from dobbin_like import JobQueue, PersistentDict, checkout
from dobbin_like.web.root import set_first_root
from dobbin_like.web.wsgi import WsgiTransactions

db = dobbin_like.open(os.environ.get("JOBS", "jobs.log"))
set_first_root(db, lambda: PersistentDict(jobs=JobQueue(), done=PersistentDict()))


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        return take_in(environ["wsgi.input"].read().decode(), start_response)
    words = db.root["done"].get(environ["PATH_INFO"].strip("/"))
    start_response("404 Not Found" if words is None else "200 OK", [])
    return [b"not yet" if words is None else str(words).encode()]


def take_in(text: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    name = uuid.uuid4().hex
    db.root["jobs"].put((name, text))
    start_response("201 Created", [])
    return [name.encode()]


app = WsgiTransactions(answer, db)


def main() -> None:
    done = db.root["done"]
    for claim in db.root["jobs"].claims(lease=60):  # Waits for the next one.
        try:
            with claim as (name, text):  # A transaction, which ends the job as well.
                checkout(done)
                done[name] = len(text.split())
        except Exception:
            logging.exception("A job has failed, and will be tried again")


if __name__ == "__main__":
    main()
