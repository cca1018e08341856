from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertharness.host.text.printable import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("KLF1+CEBPE, µ and 遺伝子: 5 %", "KLF1+CEBPE, µ and 遺伝子: 5 %"),
        ("a\x00b", "a\\x00b"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31mred", "\\x9b31mred"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\u202edesrever", "\\u202edesrever"),
        ("isolated\u2066\u2069", "isolated\\u2066\\u2069"),
        ("KLF\u200b1", "KLF\\u200b1"),
        ("next\u2028line", "next\\u2028line"),
        ("half \udc80", "half \\udc80"),
        ("tag \U000e0041", "tag \\U000e0041"),
    ],
)
def test_characters_that_cannot_be_seen_are_escaped(text, expected):
    assert printable(text) == expected


def test_newlines_and_tabs_stay_where_they_are_asked_for():
    text = "Traceback:\r\n\tline 1\rover\x00\n"

    assert printable(text, newlines=True) == "Traceback:\n\tline 1\\rover\\x00\n"


@given(st.text(alphabet=st.characters(), max_size=40))
def test_no_control_character_surrogate_or_override_is_left(text):
    shown = printable(text)

    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [c for c in shown if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")]
    assert printable(shown) == shown
    shown.encode("utf-8")
