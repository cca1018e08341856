"""Texts of plugins in the form and length in which a record keeps them."""

from __future__ import annotations

from collections.abc import Iterable

MESSAGE_LIMIT = 4_000
"""Characters of a record's message; the log has all of it."""
NOTE_LIMIT = 1_000
"""Characters of one note, and of the reason for a query that is not answered."""
NOTES_LIMIT = 100
"""Notes of a record."""
TRACEBACK_LIMIT = 40_000
"""Characters of a traceback: some hundred frames, of which Python itself shortens recursions."""
_SHARE_OF_END = 4
"""A quarter of what `shorten` keeps is the end: of a traceback it names the error."""


def storable(text: str) -> str:
    r"""Return a text that JSON in UTF-8, CSV and h5ad files can hold.

    Half surrogates, as in the names of odd files, and NUL, at which C code ends a text, are spelled out: ``\udcff``,
    ``\x00``.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def shorten(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters: itself, or its beginning and end with the number left out between.

    Raises
    ------
    ValueError
        If `limit` leaves no room for the words on what was left out.
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
    """Return notes as a record keeps them: each storable and of at most ``NOTE_LIMIT`` characters, and not too many."""
    shortened = [shorten(storable(note), NOTE_LIMIT) for note in notes]
    if len(shortened) <= NOTES_LIMIT:
        return shortened
    left_out = len(shortened) - NOTES_LIMIT + 1
    return [*shortened[: NOTES_LIMIT - 1], f"{left_out} more notes; the log has all of them"]


def _gap(left_out: int) -> str:
    return f" [... {left_out} characters, see the log ...] "
