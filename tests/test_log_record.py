"""Bytes to frames and back, without a file."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.contract import NewNames
from dobbin_like.log.format import record, saved
from dobbin_like.log.format.meta import decode_meta, encode_meta, encode_names
from dobbin_like.log.format.record import DamagedError, LogPlace, Meta
from dobbin_like.log.reading.chain import whole_frames
from dobbin_like.log.reading.reader import ReadBuffer

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Meta()
START = LogPlace(4096, 0, 12345, 0, 0)

texts = st.text(st.characters(), max_size=20)
numbers = st.integers(0, 2**24 - 1)
shapes = st.tuples(numbers, numbers, st.lists(texts, max_size=3).map(tuple))
names = st.builds(
    NewNames,
    st.lists(st.tuples(numbers, texts, texts), max_size=3).map(tuple),
    st.lists(shapes, max_size=3).map(tuple),
)
metas = st.builds(
    Meta,
    names,
    texts,
    texts,
    st.binary(max_size=20),
    texts,
)


def encode(*entries: tuple[int, int, bytes], meta: Meta = NOTHING) -> bytes:
    data, _ = record.encode_transaction(
        START, 7, entries, [0] * len(entries), meta, record.COMMITTED
    )
    return data


@given(metas)
def test_meta_is_decoded_as_it_was_encoded(meta: Meta) -> None:
    assert decode_meta(encode_meta(meta)) == meta


@given(metas.filter(lambda meta: meta != NOTHING), st.data())
def test_a_cut_meta_is_damaged(meta: Meta, data: st.DataObject) -> None:
    encoded = encode_meta(meta)
    cut = data.draw(st.integers(1, len(encoded) - 1))

    with pytest.raises(DamagedError):
        decode_meta(encoded[:cut])


def test_a_meta_that_says_nothing_takes_no_byte() -> None:
    assert encode_meta(Meta()) == b""


def test_a_lone_surrogate_in_a_note_survives() -> None:
    meta = Meta(user="\ud800")

    assert decode_meta(encode_meta(meta)) == meta


def test_the_commit_of_a_small_object_takes_120_bytes() -> None:
    assert len(encode((1, 1, b"x" * 30))) == 120


@pytest.mark.parametrize("size", range(9))
def test_every_frame_is_a_multiple_of_eight_bytes(size: int) -> None:
    assert len(encode((1, 1, b"x" * size))) % 8 == 0


def test_an_entry_leads_to_its_state() -> None:
    data = encode((5, 1, b"five"), (6, 2, b"six"), meta=Meta(user="me"))

    for index, state in enumerate((b"five", b"six")):
        at = record.TRANSACTION_SIZE + index * record.ENTRY_SIZE
        head = record.entry_head(data, at)
        assert (head.oid, head.previous, head.row, head.number) == (5 + index, 0, index, 1 + index)
        assert data[at + head.distance : at + head.distance + head.length] == state


def test_the_statuses_differ_in_many_bits() -> None:
    assert (record.COMMITTED ^ record.FAILED).bit_count() >= 16


@pytest.mark.parametrize("class_number", [-1, 2**25])
def test_a_class_number_that_does_not_fit_is_refused(class_number: int) -> None:
    with pytest.raises(ValueError, match="class number"):
        encode((1, class_number, b""))


def test_every_bit_of_a_frame_is_covered_by_a_checksum(path: Path) -> None:
    """That of the frame, or of the entry and its state; what is behind them only fills it up."""
    entries = [(1, 1, b"x" * 8), (5, 2, b"y" * 16)]
    data, _ = record.encode_transaction(
        START, 7, entries, [0, 0], Meta(user="abcdef"), record.COMMITTED
    )
    with path.open("w+b", buffering=0) as file:
        buffer = ReadBuffer(file.fileno(), str(path))
        for bit in range(len(data.rstrip(b"\0")) * 8):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            os.pwrite(file.fileno(), bytes(START.end) + damaged, 0)

            whole = list(whole_frames(buffer.beside(), START, START.end + len(data)))

            assert whole == [], bit


def test_a_stream_head_is_decoded_as_it_was_encoded() -> None:
    head = record.StreamHead(10, 65536, 99)
    data, _ = record.encode_stream_head(START, 64, head)

    assert record.decode_stream_head(data) == head


def test_another_frame_is_no_stream() -> None:
    with pytest.raises(DamagedError):
        record.decode_stream_head(encode((1, 1, b"x" * 30)))
    with pytest.raises(DamagedError):
        record.decode_stream_head(b"")


def test_a_positions_head_is_decoded_as_it_was_encoded() -> None:
    blocks = [array("Q", range(1024)), array("Q", range(500))]
    encoded = [saved.encode_block(block) for block in blocks]
    head = saved.PositionsHead(1524, 1522, LogPlace(5000, 4096, 1, 2, 3))
    data, fill, after = saved.encode_positions_head(START, head, b"classes", encoded)

    assert saved.head_size(data) == len(data)
    assert saved.decode_positions_head(data) == head
    slots = saved.decode_saved_slots(data, START.end)
    assert [slots.decode(number, block) for number, block in enumerate(encoded)] == blocks
    assert slots.place(1) == (START.end + len(data) + len(encoded[0]), len(encoded[1]))
    assert slots.end + fill == after.end == START.end + saved.positions_size(1524, 7)
    with pytest.raises(DamagedError):
        slots.decode(0, encoded[1])


def test_slots_that_do_not_fit_into_their_frame_are_refused() -> None:
    head = saved.PositionsHead(3, 2, START)
    data, _, _ = saved.encode_positions_head(START, head, b"classes", [bytes(24)])

    for slots in (6, 1025, 2**63):
        lying = bytearray(data)
        lying[32:40] = slots.to_bytes(8, "little")
        with pytest.raises(DamagedError):
            saved.decode_saved_slots(bytes(lying), START.end)


def test_saved_positions_in_blocks_of_another_size_are_refused() -> None:
    data, _, _ = saved.encode_positions_head(START, saved.PositionsHead(0, 0, START), b"", [])
    other = data[:84] + (2048).to_bytes(4, "little")

    with pytest.raises(DamagedError, match="1024"):
        saved.decode_saved_slots(other, START.end)


@pytest.mark.parametrize("number", [-1, 2**25])
def test_a_class_or_shape_that_no_entry_can_refer_to_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="class number"):
        encode_names(NewNames(((number, "m", "C"),)))
    with pytest.raises(ValueError, match="class number"):
        encode_names(NewNames((), ((number, 1, ("x",)),)))
    with pytest.raises(ValueError, match="class number"):
        encode_names(NewNames((), ((1, number, ("x",)),)))
