"""The statements of a pack of a log in PostgreSQL; ``{s}`` stands for the schema."""

from __future__ import annotations

from typing import Final

from dobbin_like.ids import DELTA
from dobbin_like.storages.postgres.tables import ROW, SINCE_NOW

_READING: Final = f"position('Q'::bytea in data) > 0 or number & {DELTA} <> 0"
"""Whether a state may refer to objects, or has to be put together."""

_BASE: Final = (
    "select max(w.tid) from {s}.version w "
    f"where w.oid = {{oid}} and w.tid <= {{cut}} and w.number & {DELTA} = 0"
)
"""The whole version with which what a snapshot as of the cut sees of an object begins."""

TEXTS: Final = {
    "lock": (
        "begin; set local idle_in_transaction_session_timeout = 0; "
        "select 1 from {s}.packing for update nowait"
    ),
    "oldest_pin": "select min(tid) from {s}.pin where until > now()",
    # Not those that have stored nothing, as packs: the snapshot before is the same.
    "cut": (
        f"select {ROW} from {{s}}.log, (select {SINCE_NOW} as now) packed "
        "where tid <= greatest(%s::int8, now) and (tid <= now or cardinality(oids) > 0) "
        "order by tid desc limit 1"
    ),
    "streams_size": "select coalesce(sum(octet_length(data)), 0)::int8 from {s}.stream",
    "transactions": "select count(*) from {s}.log where tid > 0 and not packed",
    "states": (
        "select oid, tid, number, case when octet_length(data) <= %s then data end "
        "from unnest(%s::int8[]) o(wanted) cross join lateral ("
        "select oid, tid, number, data from {s}.version where oid = wanted and tid <= %s "
        f"order by tid desc limit 1) v where {_READING}"
    ),
    "state": "select data from {s}.version where oid = %s and tid = %s",
    "before": (
        "select tid, number, data from {s}.version where oid = %s and tid < %s "
        "order by tid desc limit 1"
    ),
    "later": (
        f"select v.oid, v.number, case when {_READING} then v.data end from {{s}}.log l "
        "cross join unnest(l.oids) o(oid) "
        "join {s}.version v on v.oid = o.oid and v.tid = l.tid "
        "where l.pos > %s and l.pos <= %s and not l.failed"
    ),
    "there": (
        "select oid, count(*), sum(size)::int8, coalesce(sum(size) filter (where tid > %(cut)s), "
        "0)::int8, count(*) filter (where tid < base), "
        "coalesce(sum(size) filter (where tid < base), 0)::int8 from ("
        "select oid, tid, octet_length(data) as size, "
        f"max(tid) filter (where tid <= %(cut)s and number & {DELTA} = 0) "
        "over (partition by oid) as base "
        "from {s}.version where oid >= %(first)s and oid < %(after)s) v group by oid"
    ),
    "page": (
        "select max(tid) from (select tid from {s}.log where tid > %s and tid <= %s "
        "and not packed order by tid limit %s) page"
    ),
    "left": (
        "select l.failed or cardinality(l.oids) > 0, "
        "array(select o.oid from unnest(l.oids) o(oid) where not l.failed and l.tid >= coalesce(("
        + _BASE.format(s="{s}", oid="o.oid", cut="%(cut)s")
        + "), 0)) from {s}.log l where l.tid > %(after)s and l.tid <= %(until)s "
        "and not packed and l.tid < %(cut)s"
    ),
    "stream_states": (
        "select v.oid, v.tid, v.number, v.data from {s}.version v "
        "where v.number = any(%(numbers)s::int8[]) and v.tid >= coalesce(("
        + _BASE.format(s="{s}", oid="v.oid", cut="%(cut)s")
        + "), 0)"
    ),
    "stream_keys": (
        "select key, octet_length(data) from {s}.stream where n = 0 and (made < now() - interval "
        "'1 day' or key in (select unnest(streams) from {s}.log "
        "where tid > 0 and tid <= %s and not packed))"
    ),
    "stream_sizes": (
        "select coalesce(sum(octet_length(data)), 0)::int8 from {s}.stream "
        "where key = any(%s::int8[])"
    ),
    "due": "select pos, since, dropped from {s}.log where due and pos <= %s order by pos",
    "announce": (
        "insert into {s}.log (pos, id, prev, tid, failed, named, oids, streams, meta, "
        "oid_count, next_oid, since, generation, dropped, due) "
        "select pos + 1, %(id)b, id, %(tid)s, false, false, '{}', '{}', %(meta)b, "
        "oid_count - cardinality(%(oids)s::int8[]), next_oid, %(since)s, %(generation)s, "
        "%(oids)s::int8[], cardinality(%(oids)s::int8[]) > 0 from {s}.log "
        "where pos = %(pos)s and id = %(prev)b returning oid_count"
    ),
    "drop_objects": (
        "with gone as (delete from {s}.version where oid = any(%s::int8[]) and tid <= %s "
        "returning octet_length(data) as size) "
        "select count(*), coalesce(sum(size), 0)::int8 from gone"
    ),
    "done": "update {s}.log set due = false where due and pos = %s returning 1",
    "drop_versions": (
        "with base as (select oid, max(tid) as tid from {s}.version "
        f"where oid >= %s and oid < %s and tid <= %s and number & {DELTA} = 0 group by oid), "
        "gone as (delete from {s}.version v using base where v.oid = base.oid "
        "and v.tid < base.tid returning octet_length(v.data) as size) "
        "select count(*), coalesce(sum(size), 0)::int8 from gone"
    ),
    "drop_streams": (
        "with gone as (delete from {s}.stream where key = any(%s::int8[]) "
        "returning octet_length(data) as size) select coalesce(sum(size), 0)::int8 from gone"
    ),
    "thin_out": (
        "with left_of as (select pos, array(select o.oid from unnest(x.oids) "
        "with ordinality o(oid, n) where not x.failed and exists (select 1 from {s}.version v "
        "where v.oid = o.oid and v.tid = x.tid) order by o.n) as oids, "
        "array(select k from unnest(x.streams) k where exists (select 1 from {s}.stream y "
        "where y.key = k and y.n = 0)) as streams from {s}.log x "
        "where tid > %(after)s and tid <= %(until)s and not packed "
        "and not (failed and tid = %(cut)s)), "
        "done as (update {s}.log l set oids = left_of.oids, streams = left_of.streams, "
        "packed = l.tid <> %(cut)s and cardinality(left_of.oids) = 0, "
        "meta = case when l.tid = %(cut)s or l.named or cardinality(left_of.oids) > 0 "
        "then l.meta else '' end from left_of where l.pos = left_of.pos and ("
        "cardinality(left_of.oids) < cardinality(l.oids) "
        "or cardinality(left_of.streams) < cardinality(l.streams) "
        "or (l.tid <> %(cut)s and cardinality(left_of.oids) = 0)) returning packed) "
        "select count(*) filter (where packed) from done"
    ),
    "forget": (
        "delete from {s}.log where packed and not named and not due and pos > 0 and pos < "
        "(select pos from {s}.log where tid < %s order by tid desc limit 1)"
    ),
    "forget_pins": "delete from {s}.pin where until < now()",
}  # fmt: skip
