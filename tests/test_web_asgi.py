"""ASGI: a request is a transaction of its task, and of what this one asks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction
from transaction.interfaces import TransientError

from dobbin_like.exc import BlockError, ConflictError, UncommittedChangesWarning
from dobbin_like.objects.values.here import current_scope, scope_of_context
from dobbin_like.persistent import checkout, is_changed
from dobbin_like.web.asgi import AsgiTransactions
from tests.helpers.web import Rival, count, db, in_own_thread, stored
from tests.helpers.web import ask_asgi as ask

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["db"]


async def answer(send: Any, text: object, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(text).encode()})


def app_of(handle: Callable[[], object], status: int = 200) -> Any:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, handle(), status)

    return app


async def body_of(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return body


def is_idle(db: Any) -> bool:
    """Tell whether the thread and the task have nothing under way, and no snapshot is kept."""
    return not (
        db.storage.held
        or transaction.get()._resources
        or current_scope() is not None
        or len(db._store.graph.shared.horizon)
    )


def test_a_request_is_committed_before_its_answer_begins(db):
    async def main():
        seen = []

        async def app(_scope, _receive, send):
            number = count(db)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for more in True, False:
                seen.append((stored(db)["n"], len(sent)))
                message = {"type": "http.response.body", "body": b"%d" % number}
                await send({**message, "more_body": more})
            seen.append((stored(db)["n"], len(sent)))

        sent = []
        assert await ask(AsgiTransactions(app, db), sent=sent) == (200, "11")
        assert seen == [(0, 0), (0, 0), (1, 3)]
        assert is_idle(db)

    asyncio.run(main())
    *_, last = db.transactions()
    assert last.description == "POST /page"


def test_a_request_is_run_again_with_its_body(db):
    rival, seen = Rival(db), []

    async def app(scope, receive, send):
        seen.append((scope.get("mark"), await body_of(receive)))
        scope["mark"] = True
        number = count(db)
        rival.comes_between()
        await answer(send, number)

    asked = ask(AsgiTransactions(app, db), body=b"12345", pieces=3)
    assert asyncio.run(asked) == (200, "11")
    assert seen == [(None, b"12345")] * 2
    assert stored(db) == {"n": 11}


def test_a_body_that_is_too_long_to_keep_is_run_once(db):
    rival, seen = Rival(db), []

    async def app(_scope, receive, send):
        seen.append(await body_of(receive))
        count(db)
        rival.comes_between()
        await answer(send, 1)

    sent = []
    asked = ask(AsgiTransactions(app, db, replay_bytes=2), body=b"12345", pieces=5, sent=sent)
    with pytest.raises(ConflictError):
        asyncio.run(asked)
    assert seen == [b"12345"]
    assert sent == []
    assert stored(db) == {"n": 10}


def test_a_request_whose_client_has_gone_in_the_body_is_not_run(db):
    async def app(_scope, _receive, _send):
        raise AssertionError

    async def gone():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(AsgiTransactions(app, db)(scope, gone, None))


def test_a_request_is_run_as_often_as_it_says(db):
    rival = Rival(db, times=100)

    async def app(_scope, _receive, _send):
        rival.comes_between()
        raise TransientError

    with pytest.raises(TransientError):
        asyncio.run(ask(AsgiTransactions(app, db, retry=2)))
    assert rival.asked == 3


def test_a_handler_that_raises_leaves_nothing(db):
    async def main():
        def fail():
            count(db)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await ask(AsgiTransactions(app_of(fail), db))
        assert is_idle(db)
        assert await ask(AsgiTransactions(app_of(lambda: count(db)), db)) == (200, "1")

    asyncio.run(main())
    assert stored(db) == {"n": 1}


@pytest.mark.parametrize(
    ("status", "rules", "left"),
    [
        (404, {}, 0),
        (500, {}, 0),
        (302, {}, 1),
        (404, {"abort_from": 500}, 1),
        (500, {"abort_from": 500}, 0),
    ],
)
def test_an_answer_that_refuses_leaves_nothing(db, status, rules, left):
    asked = ask(AsgiTransactions(app_of(lambda: count(db), status), db, **rules))

    assert asyncio.run(asked) == (status, "1")
    assert stored(db) == {"n": left}


@pytest.mark.parametrize("error", [ZeroDivisionError, TransientError])
def test_a_page_that_tells_of_an_error_is_sent_unless_it_is_run_again(db, error):
    errors = [error()]

    async def app(_scope, _receive, send):
        """As Starlette does: it sends a page, and lets the server know."""
        count(db)
        if errors:
            await answer(send, "page", 500)
            raise errors.pop()
        await answer(send, "well")

    sent = []
    asked = ask(AsgiTransactions(app, db), sent=sent)
    if error is TransientError:
        assert asyncio.run(asked) == (200, "well")
        assert stored(db) == {"n": 1}
    else:
        with pytest.raises(ZeroDivisionError):
            asyncio.run(asked)
        assert sent[-1]["body"] == b"page"
        assert stored(db) == {"n": 0}


def test_what_tells_of_a_failed_commit_is_not_sent(db):
    rival = Rival(db)

    async def app(_scope, _receive, send):
        count(db)
        rival.comes_between()
        try:
            await answer(send, "well")
        except ConflictError:
            await answer(send, "page", 500)
            raise RuntimeError from None

    assert asyncio.run(ask(AsgiTransactions(app, db))) == (200, "well")
    assert stored(db) == {"n": 11}


def test_an_application_that_suppresses_a_failed_commit_is_run_again(db):
    rival = Rival(db)

    async def app(_scope, _receive, send):
        number = count(db)
        rival.comes_between()
        with contextlib.suppress(ConflictError):
            await answer(send, number)

    assert asyncio.run(ask(AsgiTransactions(app, db))) == (200, "11")
    assert stored(db) == {"n": 11}


def test_a_request_that_is_cancelled_in_a_commit_that_fails_is_not_run_again(db):
    async def main():
        async def app(_scope, _receive, send):
            count(db)
            rival.comes_between()
            asyncio.current_task().cancel()
            await answer(send, 1)

        rival = Rival(db)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(ask(AsgiTransactions(app, db)))
        assert rival.asked == 1

    asyncio.run(main())
    assert stored(db) == {"n": 10}


@pytest.mark.parametrize("status", [200, 404])
def test_what_is_done_after_the_answer_is_outside(db, status):
    expected = 3 if status == 200 else 2

    async def main():
        async def app(_scope, _receive, send):
            await answer(send, count(db), status)
            assert current_scope() is None
            async with db.transaction():
                count(db)
            await asyncio.to_thread(lambda: db.run(lambda: count(db)))

        assert await ask(AsgiTransactions(app, db)) == (status, "1")

    asyncio.run(main())
    assert stored(db) == {"n": expected}


def test_a_request_that_is_skipped_is_left_alone(db):
    async def app(_scope, _receive, send):
        assert current_scope() is None
        await answer(send, db.root["n"])

    asked = ask(AsgiTransactions(app, db, skip=lambda _method, path: path == "/page"))
    assert asyncio.run(asked) == (200, "0")


def test_reading_is_sent_as_it_is_made_and_is_never_stale(db):
    async def main():
        sent = []

        async def app(_scope, _receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for more in True, False:
                seen.append((len(sent), db.root["n"]))
                await asyncio.to_thread(in_own_thread, lambda: count(db))
                await send({"type": "http.response.body", "more_body": more})

        middleware = AsgiTransactions(app, db)
        for n in 0, 2:
            sent, seen = [], []
            await ask(middleware, "GET", sent=sent)
            assert seen == [(1, n), (2, n)]
            assert is_idle(db)

    asyncio.run(main())


def test_a_request_that_reads_is_refused_a_checkout(db):
    with pytest.raises(BlockError, match="only reads"):
        asyncio.run(ask(AsgiTransactions(app_of(lambda: count(db)), db), "GET"))
    asked = ask(AsgiTransactions(app_of(lambda: count(db)), db, read_methods=()), "GET")
    assert asyncio.run(asked) == (200, "1")


def test_threads_and_tasks_of_a_request_share_its_transaction(db):
    async def main():
        def in_thread():
            with db.transaction():
                number = count(db)
            assert is_changed(db.root)
            return number

        async def in_task():
            async with db.transaction():
                count(db)
            return await asyncio.to_thread(in_thread)

        async def app(_scope, _receive, send):
            count(db)
            number = await asyncio.create_task(in_task())
            assert (number, db.root["n"], stored(db)["n"]) == (3, 3, 0)
            await asyncio.create_task(answer(send, number))

        assert await ask(AsgiTransactions(app, db)) == (200, "3")
        assert is_idle(db)
        assert scope_of_context() is None or current_scope() is None

    asyncio.run(main())
    assert stored(db) == {"n": 3}


def test_a_thread_that_has_used_the_database_before_reads_what_its_request_has_changed(db):
    """What such a thread has kept for itself must not answer for the request."""
    root = db.root

    async def main():
        def own():
            with db.transaction():
                return root["n"]

        async def app(_scope, _receive, send):
            count(db)
            await answer(send, await asyncio.to_thread(lambda: (db.root["n"], root["n"])))

        assert await asyncio.to_thread(own) == 0
        assert await ask(AsgiTransactions(app, db)) == (200, "(1, 1)")
        assert await asyncio.to_thread(own) == 1

    asyncio.run(main())


def test_what_outlives_its_request_is_on_its_own(db):
    async def main():
        left = []

        async def later(done):
            await done.wait()
            async with db.transaction():
                return count(db)

        async def app(_scope, _receive, send):
            done = asyncio.Event()
            left.append((done, asyncio.create_task(later(done))))
            await answer(send, count(db))

        assert await ask(AsgiTransactions(app, db)) == (200, "1")
        [(done, task)] = left
        done.set()
        assert await task == 2

    asyncio.run(main())
    assert stored(db) == {"n": 2}


def test_a_request_that_is_cancelled_leaves_nothing(db):
    async def main():
        async def app(_scope, _receive, _send):
            count(db)
            entered.set()
            await asyncio.sleep(60)

        entered = asyncio.Event()
        task = asyncio.create_task(ask(AsgiTransactions(app, db)))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_idle(db)

    asyncio.run(main())
    assert stored(db) == {"n": 0}


def test_the_loop_goes_on_while_a_request_waits_for_the_lock(db):
    async def main():
        held, release = threading.Event(), threading.Event()

        def hold():
            db.storage.acquire()
            held.set()
            release.wait(30)
            db.storage.release()

        holder = threading.Thread(target=hold)
        holder.start()
        await asyncio.to_thread(held.wait, 30)
        reading = AsgiTransactions(app_of(lambda: db.root["n"]), db)
        task = asyncio.create_task(ask(AsgiTransactions(app_of(lambda: count(db)), db)))
        for _ in range(3):
            assert await ask(reading, "GET") == (200, "0")
        assert not task.done()
        release.set()
        assert await task == (200, "1")
        await asyncio.to_thread(holder.join)

    asyncio.run(main())


def test_who_has_no_database_is_told_what_to_do():
    for scope in {}, {"state": {}}:
        with pytest.raises(RuntimeError, match="lifespan"):
            asyncio.run(ask(AsgiTransactions(app_of(lambda: 1)), **scope))


def test_other_protocols_are_left_alone(db):
    async def app(scope, _receive, _send):
        seen.append(scope["type"])
        assert current_scope() is None

    seen = []
    for kind in "lifespan", "websocket":
        asyncio.run(AsgiTransactions(app, db)({"type": kind}, None, None))
    assert seen == ["lifespan", "websocket"]


@pytest.mark.slow
def test_tasks_that_write_lose_nothing(db):
    async def app(_scope, _receive, send):
        n = db.root["n"]
        await asyncio.sleep(0)
        number = await asyncio.to_thread(count, db)
        assert number == n + 1
        await answer(send, number)

    async def main():
        middleware = AsgiTransactions(app, db, retry=100)
        return await asyncio.gather(*(ask(middleware) for _ in range(50)))

    answers = asyncio.run(main())
    assert sorted(int(text) for _, text in answers) == list(range(1, 51))
    assert stored(db) == {"n": 50}


def _forget(db: Any) -> None:
    checkout(db.root)
    db.root["n"] = -1


async def _forget_in_task(db: Any) -> None:
    _forget(db)


async def _forget_in_thread(db: Any) -> None:
    await asyncio.to_thread(_forget, db)


async def _forget_in_task_of_its_own(db: Any) -> None:
    await asyncio.create_task(_forget_in_task(db))


@pytest.mark.parametrize(
    "forget", [_forget_in_task, _forget_in_thread, _forget_in_task_of_its_own]
)
def test_a_background_task_that_commits_nothing_is_told(db, forget):
    """It was silent until the database was closed, in weeks."""

    async def main():
        async def app(_scope, _receive, send):
            await answer(send, count(db))
            await forget(db)

        with pytest.warns(UncommittedChangesWarning, match=r"after a request, .* oid 0.* db\.run"):
            assert await ask(AsgiTransactions(app, db)) == (200, "1")
        assert scope_of_context() is None
        transaction.abort()

    asyncio.run(main())
    assert stored(db) == {"n": 1}


def test_a_task_that_outlives_its_request_and_commits_nothing_is_told(db):
    async def main():
        done, tasks = asyncio.Event(), []

        async def later():
            await done.wait()
            _forget(db)

        async def app(_scope, _receive, send):
            tasks.append(asyncio.create_task(later()))
            await answer(send, count(db))

        assert await ask(AsgiTransactions(app, db)) == (200, "1")
        done.set()
        with pytest.warns(UncommittedChangesWarning, match="after a request") as told:
            await asyncio.wait(tasks)
        assert len(told) == 1
        transaction.abort()

    asyncio.run(main())


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_background_task_may_commit_by_hand(db, in_thread):
    def work():
        with transaction.manager:
            count(db)

    async def main():
        async def app(_scope, _receive, send):
            await answer(send, count(db))
            if in_thread:
                await asyncio.to_thread(work)
            else:
                work()

        assert await ask(AsgiTransactions(app, db)) == (200, "1")
        with transaction.manager:  # What comes after the request is not of it.
            count(db)

    asyncio.run(main())
    assert stored(db) == {"n": 3}
