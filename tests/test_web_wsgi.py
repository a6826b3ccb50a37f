"""WSGI: a request is a transaction, run again after a conflict, answered after its commit."""

from __future__ import annotations

import gc
import io
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
import transaction
from transaction.interfaces import TransientError

from dobbin_like import Database
from dobbin_like.exc import BlockError, ConflictError
from dobbin_like.transactions.fork import opened
from dobbin_like.web.root import open_with_root, set_first_root
from dobbin_like.web.wsgi import WsgiTransactions, note_error
from tests.helpers.web import Rival, count, db, in_own_thread, make_root, put, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["db"]


class Ask:
    """Asks an application as a server does; keeps what it was told."""

    def __init__(self, app: Any, method: str = "POST", body: bytes = b"", **environ: Any) -> None:
        self.environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "PATH_INFO": "/page",
        }
        setup_testing_defaults(self.environ)
        self.environ.update(environ)
        self.status = ""
        self.result = app(self.environ, self._start)

    def _start(self, status: str, _headers: Any, _exc_info: object = None) -> Any:
        self.status = status
        return None

    def read(self) -> str:
        try:
            return b"".join(self.result).decode()
        finally:
            self.close()

    def close(self) -> None:
        close = getattr(self.result, "close", None)
        if close is not None:
            close()


def app_of(handle: Callable[[], object], status: str = "200 OK") -> Any:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        answer = str(handle()).encode()
        start_response(status, [("Content-Type", "text/plain")])
        return [answer]

    return app


def is_idle(db: Any) -> bool:
    """Tell whether the thread has nothing under way, and keeps no snapshot."""
    return not (
        db.storage.held
        or transaction.get()._resources
        or len(db._store.graph.shared.horizon)
        or db._store.manager().pending
    )


def test_a_request_is_committed_before_its_answer_begins(db):
    seen = []

    def start(_status, _headers):
        seen.append(stored(db)["n"])

    ask = Ask(lambda *_: [])
    result = WsgiTransactions(app_of(lambda: count(db)), db)(ask.environ, start)

    assert (seen, list(result)) == ([1], [b"1"])
    assert is_idle(db)
    *_, last = db.transactions()
    assert last.description == "POST /page"


def test_a_request_is_run_again_with_its_body(db):
    rival = Rival(db)

    def app(environ, start_response):
        put(db, "n", db.root["n"] + int(environ["wsgi.input"].read()))
        rival.comes_between()
        start_response("200 OK", [])
        return [str(db.root["n"]).encode()]

    assert Ask(WsgiTransactions(app, db), body=b"5").read() == "15"
    assert rival.asked == 2
    assert stored(db) == {"n": 15}
    assert is_idle(db)


def test_after_a_conflict_the_requests_of_that_page_hold_the_lock_and_no_others(db):
    rival, held = Rival(db), []

    def handle():
        held.append(db.storage.held)
        number = count(db)
        rival.comes_between()
        return number

    app = WsgiTransactions(app_of(handle), db)
    for page in ("/", "/", "/other", "/"):
        Ask(app, PATH_INFO=page).read()

    assert held == [False, True, True, False, True]
    assert is_idle(db)


def test_a_body_without_a_length_is_kept_as_well(db):
    rival, bodies = Rival(db), []

    def app(environ, start_response):
        bodies.append(environ["wsgi.input"].read())
        count(db)
        rival.comes_between()
        start_response("200 OK", [])
        return []

    body = {"wsgi.input": io.BytesIO(b"chunked"), "wsgi.input_terminated": True}
    Ask(WsgiTransactions(app, db), CONTENT_LENGTH="", **body).read()

    assert bodies == [b"chunked"] * 2
    assert stored(db) == {"n": 11}


@pytest.mark.parametrize("length", ["5", ""])
def test_a_body_that_is_too_long_to_keep_is_run_once(db, length):
    rival, bodies = Rival(db), []

    def app(environ, start_response):
        bodies.append(environ["wsgi.input"].read())
        count(db)
        rival.comes_between()
        start_response("200 OK", [])
        return []

    body = {"wsgi.input": io.BytesIO(b"12345"), "wsgi.input_terminated": True}
    middleware = WsgiTransactions(app, db, replay_bytes=4)
    with pytest.raises(ConflictError):
        Ask(middleware, CONTENT_LENGTH=length, **body)

    assert bodies == [b"12345"]
    assert stored(db) == {"n": 10}
    assert is_idle(db)


def test_a_request_whose_client_has_gone_in_the_body_is_not_run(db):
    def app(_environ, _start_response):
        raise AssertionError

    ask = Ask(WsgiTransactions(app, db), body=b"12345", CONTENT_LENGTH="10")

    assert (ask.status, ask.read()) == ("400 Bad Request", "")


def test_a_request_is_run_as_often_as_it_says(db):
    rival = Rival(db, times=100)

    def handle():
        rival.comes_between()
        raise TransientError

    with pytest.raises(TransientError):
        Ask(WsgiTransactions(app_of(handle), db, retry=2))

    assert rival.asked == 3


def test_a_handler_that_raises_leaves_nothing(db):
    def fail():
        count(db)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Ask(WsgiTransactions(app_of(fail), db))

    assert is_idle(db)
    assert db.root["n"] == 0
    assert Ask(WsgiTransactions(app_of(lambda: count(db)), db)).read() == "1"
    assert stored(db) == {"n": 1}


@pytest.mark.parametrize(
    ("status", "rules", "left"),
    [
        ("404 Not Found", {}, 0),
        ("500 Oh", {}, 0),
        ("302 Found", {}, 1),
        ("404 Not Found", {"abort_from": 500}, 1),
        ("500 Oh", {"abort_from": 500}, 0),
    ],
)
def test_an_answer_that_refuses_leaves_nothing(db, status, rules, left):
    ask = Ask(WsgiTransactions(app_of(lambda: count(db), status), db, **rules))

    assert (ask.status, ask.read()) == (status, "1")
    assert stored(db) == {"n": left}
    assert is_idle(db)


def test_an_error_that_the_application_answers_counts(db):
    """A framework makes an answer of a conflict, too: the request is run again all the same."""
    errors = [ValueError(), TransientError()]

    def app(environ, start_response):
        count(db)
        if errors:
            note_error(environ, errors.pop())
        start_response("200 OK", [])
        return [b"answer"]

    middleware = WsgiTransactions(app, db)
    assert Ask(middleware).read() == "answer"
    assert stored(db) == {"n": 0}
    assert Ask(middleware).read() == "answer"
    assert stored(db) == {"n": 1}


def test_a_generator_is_read_in_the_transaction(db):
    closed = []

    class Body:
        def __iter__(self):
            yield str(count(db)).encode()
            yield b" or " + str(count(db)).encode()

        def close(self):
            closed.append(True)

    def app(_environ, start_response):
        start_response("200 OK", [])(b"written ")
        return Body()

    assert Ask(WsgiTransactions(app, db)).read() == "written 1 or 2"
    assert stored(db) == {"n": 2}
    assert closed == [True]


def test_a_request_that_reads_is_refused_a_checkout(db):
    with pytest.raises(BlockError, match="only reads"):
        Ask(WsgiTransactions(app_of(lambda: count(db)), db), "GET")

    assert is_idle(db)
    assert Ask(WsgiTransactions(app_of(lambda: count(db)), db, read_methods=()), "GET").read()
    assert stored(db) == {"n": 1}


def test_reading_takes_no_lock_and_is_never_stale(db):
    middleware = WsgiTransactions(app_of(lambda: (db.root["n"], db.storage.held)), db)

    for number in range(3):
        assert Ask(middleware, "GET").read() == f"({number}, False)"
        in_own_thread(lambda: count(db))


def test_a_stream_is_made_in_one_snapshot_which_ends_with_it(db):
    def pages() -> Iterator[bytes]:
        for _ in range(2):
            yield str(db.root["n"]).encode()

    def app(_environ, start_response):
        start_response("200 OK", [])
        return pages()

    ask = Ask(WsgiTransactions(app, db), "GET")
    result = iter(ask.result)
    assert next(result) == b"0"
    in_own_thread(lambda: count(db))
    assert next(result) == b"0"
    ask.close()
    assert is_idle(db)
    assert db.root["n"] == 1


def test_a_stream_that_is_read_to_its_end_has_ended_without_being_closed(db):
    # As the client of a test keeps it: each request after it was refused.
    def app(_environ, start_response):
        start_response("200 OK", [])
        yield str(db.root["n"]).encode()

    ask = Ask(WsgiTransactions(app, db), "GET")
    assert b"".join(ask.result) == b"0"
    assert is_idle(db)
    assert Ask(WsgiTransactions(app_of(lambda: count(db)), db)).read() == "1"
    ask.close()
    assert stored(db) == {"n": 1}


def test_a_client_that_goes_away_in_a_stream_leaves_nothing(db):
    closed = []

    def app(_environ, start_response):
        start_response("200 OK", [])
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(db.root["n"])

    ask = Ask(WsgiTransactions(app, db), "GET")
    assert next(iter(ask.result)) == b"one"
    ask.close()

    assert closed == [0]
    assert is_idle(db)


def test_a_server_that_closes_nothing_is_cleared_up_after(db):
    def app(_environ, start_response):
        start_response("200 OK", [])
        yield b"one"

    ask = Ask(WsgiTransactions(app, db), "GET")
    assert next(iter(ask.result)) == b"one"
    del ask
    gc.collect()

    assert Ask(WsgiTransactions(app_of(lambda: count(db)), db)).read() == "1"
    assert stored(db) == {"n": 1}


def test_what_the_server_makes_of_a_file_is_left_as_it_is(db):
    class FileWrapper:
        closed = False

        def __iter__(self):
            raise AssertionError

        def close(self):
            self.closed = True

    files, rival = [], Rival(db)

    def app(_environ, start_response):
        if _environ["REQUEST_METHOD"] == "POST":
            count(db)
            rival.comes_between()
        start_response("200 OK", [])
        files.append(FileWrapper())
        return files[-1]

    middleware = WsgiTransactions(app, db)
    for method in "GET", "POST":
        ask = Ask(middleware, method, **{"wsgi.file_wrapper": FileWrapper})
        assert ask.result is files[-1]
    assert [file.closed for file in files] == [False, True, False]
    assert is_idle(db)


def test_a_request_that_is_skipped_is_left_alone(db):
    middleware = WsgiTransactions(
        app_of(lambda: count(db)), db, skip=lambda _method, path: path == "/page"
    )

    assert Ask(middleware).read() == "1"
    assert stored(db) == {"n": 0}
    transaction.commit()
    assert stored(db) == {"n": 1}


def test_a_database_whose_root_can_not_be_made_is_closed(tmp_path):
    with pytest.raises(ZeroDivisionError):
        open_with_root(tmp_path / "shop.log", lambda: 1 // 0)  # type: ignore[arg-type]

    assert not [each for each in opened if each.storage.path == str(tmp_path / "shop.log")]


def test_two_databases_are_committed_together(db, tmp_path):
    with Database(tmp_path / "other.log") as other:
        set_first_root(other, make_root)
        rival = Rival(db)

        def handle():
            count(db)
            rival.comes_between()
            return count(other)

        app = WsgiTransactions(WsgiTransactions(app_of(handle), other), db)
        assert Ask(app).read() == "1"
        assert (stored(db), stored(other)) == ({"n": 11}, {"n": 1})
        refused = WsgiTransactions(WsgiTransactions(app_of(handle, "409 No"), other), db)
        assert Ask(refused).read() == "2"
        assert (stored(db), stored(other)) == ({"n": 11}, {"n": 1})
        reading = app_of(lambda: (db.root["n"], other.root["n"]))
        assert Ask(WsgiTransactions(WsgiTransactions(reading, other), db), "GET").read()
    assert is_idle(db)


@pytest.mark.slow
def test_threads_that_write_lose_nothing(db):
    middleware = WsgiTransactions(app_of(lambda: count(db)), db)
    answers = []

    def work():
        answers.extend(int(Ask(middleware).read()) for _ in range(25))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(answers) == list(range(1, 201))
    assert stored(db) == {"n": 200}
