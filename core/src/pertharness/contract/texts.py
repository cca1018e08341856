"""Texts from plugins, in the form and length in which a record stores them."""

from __future__ import annotations

from collections.abc import Iterable

MESSAGE_LIMIT = 4_000
"""Largest number of characters of a record's message; the log has the full text."""
NOTE_LIMIT = 1_000
"""Largest number of characters of a note, and of the reason for an unanswered query."""
NOTES_LIMIT = 100
"""Largest number of notes of a record."""
TRACEBACK_LIMIT = 40_000
"""Largest number of characters of a traceback: a few hundred frames. Python itself shortens recursions."""
_SHARE_OF_END = 4
"""`shorten` takes a quarter of the result from the end: the end of a traceback names the error."""


def storable(text: str) -> str:
    r"""Return a text that JSON in UTF-8, CSV and h5ad files can store.

    Lone surrogates (from file names that are not UTF-8) and NUL (which ends a text in C) are escaped: ``\udcff``,
    ``\x00``.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def shorten(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters: the whole text, or its beginning and its end.

    Raises
    ------
    ValueError
        If `limit` is too short for the remark on how many characters were left out.
    """
    if len(text) <= limit:
        return text
    room = limit - len(_gap(len(text)))
    if room < 0:
        raise ValueError(f"limit {limit!r} is too short; expected at least {limit - room}")
    end = room // _SHARE_OF_END
    start = room - end
    return f"{text[:start]}{_gap(len(text) - room)}{text[len(text) - end :]}"


def shorten_notes(notes: Iterable[str]) -> list[str]:
    """Return at most ``NOTES_LIMIT`` notes, each storable and of at most ``NOTE_LIMIT`` characters."""
    shortened = [shorten(storable(note), NOTE_LIMIT) for note in notes]
    if len(shortened) <= NOTES_LIMIT:
        return shortened
    left_out = len(shortened) - NOTES_LIMIT + 1
    return [*shortened[: NOTES_LIMIT - 1], f"{left_out} more notes; the log has all of them"]


def _gap(left_out: int) -> str:
    return f" [... {left_out} characters, see the log ...] "
