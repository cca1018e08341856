"""What a record keeps of the texts of plugins."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertharness.contract.texts import MESSAGE_LIMIT, NOTE_LIMIT, NOTES_LIMIT, shorten, shorten_notes, storable


def test_half_surrogates_and_nul_are_spelled_out() -> None:
    assert storable("a\udcffb\0c é") == "a\\udcffb\\x00c é"


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_storable_passes_through_json_in_utf_8(text: str) -> None:
    kept = storable(text)
    assert json.loads(json.dumps(kept, ensure_ascii=False).encode("utf-8")) == kept
    assert "\0" not in kept
    assert storable(kept) == kept


@given(st.text(), st.integers(60, 400))
def test_no_text_is_longer_than_its_limit_and_short_ones_stay(text: str, limit: int) -> None:
    kept = shorten(text, limit)
    assert len(kept) <= limit
    assert (kept == text) == (len(text) <= limit)


def test_beginning_and_end_stay_and_what_is_left_out_is_counted() -> None:
    text = f"ValueError: {'x' * 100_000} at gene 'KLF1'"
    kept = shorten(text, MESSAGE_LIMIT)
    start, rest = kept.split(" [... ")
    number, end = rest.split(" characters, see the log ...] ")
    assert text.startswith(start)
    assert text.endswith(end)
    assert end.endswith("at gene 'KLF1'")
    assert len(start) + int(number) + len(end) == len(text)


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="limit 10 is too short"):
        shorten("x" * 100, 10)


def test_notes_are_cut_and_counted() -> None:
    assert shorten_notes(["as it is", "\0"]) == ["as it is", "\\x00"]
    assert len(shorten_notes(["x" * 5000])[0]) <= NOTE_LIMIT
    kept = shorten_notes(map(str, range(NOTES_LIMIT + 5)))
    assert kept[:2] == ["0", "1"]
    assert kept[-1] == "6 more notes; the log has all of them"
    assert len(kept) == NOTES_LIMIT
