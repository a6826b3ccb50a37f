"""A page that counts its visits, with Flask.

::

    pip install dobbin_like flask gunicorn
    gunicorn --workers 2 --threads 4 counter:app

``POST /`` is a visit, ``GET /`` tells how many there were. They are kept in ``counter.log``, or in
the file that the environment has as ``COUNTER``.
"""

import os

from flask import Flask

from dobbin_like import PersistentCounter, PersistentDict, checkout
from dobbin_like.web.flask import Dobbin

app = Flask(__name__)
app.config["DOBBIN_DATABASE"] = os.environ.get("COUNTER", "counter.log")
db = Dobbin(app, root=lambda: PersistentDict(visits=PersistentCounter()))


@app.post("/")
def visit() -> str:
    visits = db.root["visits"]
    checkout(visits)
    visits.increment()  # Visits at the same time add up, and are not in conflict.
    return str(visits.value)


@app.get("/")
def show() -> str:
    return str(db.root["visits"].value)
