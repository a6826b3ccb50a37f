"""The header page and its words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError
from dobbin_like.log.file.words import Words, boot_number
from dobbin_like.log.format import header

INDEXES = (
    header.COMMITTED,
    header.DURABLE,
    header.SAVED,
    header.BOOT,
    header.REDO,
    header.REDO_BASE,
)
page, page_said = header.encode_page(b"0123456789abcdef", 5, boot=6)


def test_a_page_is_decoded_as_it_was_encoded() -> None:
    assert header.decode_page("x", page) == page_said
    assert page_said.store_id == b"0123456789abcdef"
    assert len(page) == header.PAGE_SIZE


@given(st.sampled_from(INDEXES), st.integers(0, 2**48 - 1))
def test_a_word_has_the_value_that_was_put(index: int, value: int) -> None:
    assert header.word_value(index, header.raw_word(index, value)) == value


@given(st.sampled_from(INDEXES), st.integers(0, 2**48 - 1))
def test_no_flipped_bit_makes_a_word_that_is_believed(index: int, value: int) -> None:
    raw = header.raw_word(index, value)

    assert all(header.word_value(index, raw ^ 1 << bit) is None for bit in range(64))


def test_a_word_at_another_place_is_not_believed() -> None:
    raw = header.raw_word(header.COMMITTED, 4096)

    assert header.word_value(header.DURABLE, raw) is None


def test_a_word_of_zeros_is_not_believed() -> None:
    assert [header.word_value(index, 0) for index in INDEXES] == [None] * len(INDEXES)


@pytest.mark.parametrize("value", [-1, 2**48])
def test_a_value_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        header.raw_word(header.COMMITTED, value)


def test_words_are_shared_by_two_mappings(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(page)
    first = os.open(path, os.O_RDWR)
    second = os.open(path, os.O_RDONLY)
    writer, reader = Words(first, writable=True), Words(second, writable=False)

    writer.put(header.COMMITTED, 8192)

    assert reader.get(header.COMMITTED) == 8192
    with pytest.raises(TypeError):
        reader.put(header.COMMITTED, 1)
    writer.close()
    reader.close()
    with pytest.raises(ValueError, match="released"):
        reader.get(header.COMMITTED)
    os.close(first)
    os.close(second)


def test_the_boot_number_is_the_same_until_the_machine_starts_anew(tmp_path: Path) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("one\n")
    before = boot_number(boot)
    again = boot_number(boot)
    boot.write_text("two\n")

    assert before == again != boot_number(boot)
    assert boot_number(tmp_path / "missing") == 0


def test_what_is_no_log_is_told_by_its_first_bytes() -> None:
    with pytest.raises(NotALogError) as caught:
        header.decode_page("x", b"#!/bin/sh\n" + bytes(5000))

    assert "#!/bin/sh" in str(caught.value)


def test_a_newer_format_is_named() -> None:
    newer = page[:8] + (2).to_bytes(4, "little") + page[12:]

    with pytest.raises(FormatVersionError) as caught:
        header.decode_page("x", newer)

    assert (caught.value.found, caught.value.expected) == (2, 1)


@pytest.mark.parametrize("at", range(12, 44))
def test_every_byte_of_the_identity_is_covered(at: int) -> None:
    damaged = bytearray(page)
    damaged[at] ^= 1

    with pytest.raises(IntegrityError):
        header.decode_page("x", bytes(damaged))


@pytest.mark.parametrize(
    ("start", "unwritten"),
    [
        (b"", True),
        (bytes(4096), True),
        (bytes(100), True),
        (page[:4], False),
        (page[:100], False),
        (page, False),
        (b"text", False),
    ],
)
def test_what_a_creation_left_that_did_not_come_to_its_end(start: bytes, unwritten: bool) -> None:
    assert header.is_unwritten(start, len(start)) is unwritten


def test_zeros_that_are_followed_by_something_are_not_a_new_log() -> None:
    assert not header.is_unwritten(bytes(4096), 5000)
