"""The header page and its words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import header

INDEXES = range(header.WORD_COUNT)
page, page_said = header.encode_page(b"0123456789abcdef", 5)


def test_a_page_is_decoded_as_it_was_encoded() -> None:
    assert header.decode_page("x", page) == page_said
    assert page_said.store_id == b"0123456789abcdef"
    assert len(page) == header.PAGE_SIZE


@given(st.sampled_from(INDEXES), st.integers(0, 2**48 - 1))
def test_a_word_has_the_value_that_was_put(index: int, value: int) -> None:
    assert header.decode_word(index, header.encode_words(index, value)) == value


@given(st.sampled_from(INDEXES), st.integers(0, 2**48 - 1))
def test_no_flipped_bit_makes_a_word_that_is_believed(index: int, value: int) -> None:
    raw = int.from_bytes(header.encode_words(index, value), "little")

    for bit in range(64):
        assert header.decode_word(index, (raw ^ 1 << bit).to_bytes(8, "little")) is None


def test_a_word_at_another_place_is_not_believed() -> None:
    word = header.encode_words(header.APPENDED, 4096)

    assert header.decode_word(header.DURABLE, word) is None


def test_a_word_of_zeros_is_not_believed() -> None:
    assert [header.decode_word(index, bytes(8)) for index in INDEXES] == [None] * len(INDEXES)


def test_a_word_that_is_cut_is_not_believed() -> None:
    assert header.decode_word(header.STATE, header.encode_words(header.STATE, 0)[:-1]) is None
    assert header.decode_word(header.STATE, b"") is None


@pytest.mark.parametrize("value", [-1, 2**48])
def test_a_value_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        header.encode_words(header.DURABLE, value)


def test_words_are_shared_by_two_open_files(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(page)
    first = os.open(path, os.O_RDWR)
    second = os.open(path, os.O_RDONLY)
    writer, reader = Words(first, "first"), Words(second, "second")

    writer.put(header.DURABLE, 8192, 4096)

    assert (reader.get(header.DURABLE), reader.get(header.LOOSE)) == (8192, 4096)
    assert reader.visible() == 8192
    writer.put(header.LOOSE, 9000)
    assert reader.visible() == 9000
    with pytest.raises(OSError, match="second"):
        reader.put(header.DURABLE, 1)
    os.close(first)
    os.close(second)


def test_the_words_of_a_file_that_was_cut_are_an_error_and_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(page[:70])
    with path.open("rb") as file:
        words = Words(file.fileno(), "name")

        with pytest.raises(IntegrityError, match="DURABLE") as caught:
            words.get(header.DURABLE)
        assert words.find(header.LOOSE) is None

    assert caught.value.path == "name"


def test_a_new_page_says_that_its_name_may_not_be_on_the_disk() -> None:
    words = page[header.WORDS_OFFSET :]

    assert header.decode_word(header.STATE, words) == header.UNNAMED


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


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("at", range(60, 64))
def test_a_damaged_mark_is_no_mark_and_not_none(at: int, *, follows: bool) -> None:
    damaged = bytearray(header.new_page(follows=follows)[0])
    assert header.decode_page("x", bytes(damaged)).follows == follows
    damaged[at] ^= 1

    with pytest.raises(IntegrityError) as caught:
        header.decode_page("x", bytes(damaged))

    assert caught.value.offset == 60


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
