"""Makes a small log in which everything occurs: ``python tests/data/small_log.py PATH``.

The golden file of a format version is made by this script when that version is released. It
is never made again: it shows that a later release still reads what that one wrote.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog

STREAM = bytes(range(256)) * 300
CLASSES = [(1, "shop.models", "Cart"), (2, "shop.models", "Größe")]
SHAPES = [(3, 1, ("items", "größe")), (4, 2, ())]


def write(path: str, stream: bytes = STREAM, **options: Any) -> None:
    """Write five transactions, one of them failed, with a stream and saved positions."""
    with TransactionLog(path, **options) as log:

        def commit(tid: int, *entries: tuple[int, int, bytes], **more: Any) -> None:
            write = log.prepare if more.pop("prepared", False) else log.append
            named = [(Oid(oid), number, data) for oid, number, data in entries]
            logged = write(Tid(tid), named, **more)
            if write == log.prepare:
                log.decide()
            log.apply([logged])

        log.acquire()
        log.apply(log.read_news())
        commit(1000, (0, 1, b"root"), classes=CLASSES, user="/ ann", description="begin")
        offset, size = log.write_stream(io.BytesIO(stream))
        entries = (1, 2, b"%d %d" % (offset, size)), (2, 1, b"")
        commit(1001, *entries, shapes=SHAPES[:1], extension=b'{"a": 1}')
        log.fail(Tid(1002), "a conflict", user="ben", oids=[Oid(1)])
        log.release()
        log.acquire()  # Until it is visible.
        log.apply(log.read_news())
        log._writing.writer.save()
        log.apply(log.read_news())
        entries = (0, 3, b"root again"), (3, 4, b"three" * 20)
        commit(1003, *entries, shapes=SHAPES[1:], prepared=True)
        commit(1004, (3, 1, b"3"))
        log.release()


def content(log: TransactionLog) -> dict[str, Any]:
    """Return all that can be read from a log, as plain values."""
    result: dict[str, Any] = {
        "transactions": [
            (
                logged.tid,
                logged.sequence,
                logged.failed,
                logged.user,
                logged.description,
                logged.extension,
                logged.reason,
                list(logged.oids),
                [(oid, stored.number, stored.data) for oid, stored in log.entries(logged)],
            )
            for logged in log.transactions()
        ],
        "len": len(log),
        "tid": log.tid,
        "oids": (log.oid_count, log.next_oid),
        "objects": [],
        "stream": b"",
    }
    for oid in range(log.next_oid):
        for at in (None, *(entry[0] for entry in result["transactions"])):
            stored = log.load(Oid(oid), None if at is None else Tid(at))
            plain = stored and (stored.tid, stored.number, stored.data)
            result["objects"].append((oid, at, plain))
    result["classes"], result["shapes"] = map(list, log.names.rows())
    reference = log.load(Oid(1))
    if reference is not None:
        offset, size = map(int, reference.data.split())
        result["stream"] = log.read_stream(offset, 0, size + 1)
        assert log.stream_size(offset) == size
    return result


if __name__ == "__main__":
    write(sys.argv[1])
