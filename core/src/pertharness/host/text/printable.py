"""Escape invisible characters in text of plugins, files and users, so that it is safe to print."""

from __future__ import annotations

import re

_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1: NUL, bell, escape sequences of terminals
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings, overrides and isolates of direction
    "\u00ad\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # no width: two names could look the same
    "\u2028\u2029"  # separators of lines and paragraphs, which some readers end a line at
    "\ud800-\udfff"  # halves of a surrogate pair, which UTF-8 cannot encode
    "\U000e0000-\U000e007f"  # tags: text that no font draws
)
_IN_LINES = re.compile(f"[{_UNSEEN}]")
_IN_A_LINE = re.compile(f"[\t\n{_UNSEEN}]")


def printable(text: str, *, newlines: bool = False) -> str:
    r"""Return a text in which every character is visible and in place.

    Control characters, NUL, bidirectional controls, characters of no width, separators of lines and lone surrogates are
    replaced by the escapes of a Python literal, such as ``\x00`` or ``\u202e``. The result is for reading: an escape
    that the text had before looks the same.

    Parameters
    ----------
    text
        Any text: a name, a reason, a message of another program.
    newlines
        Whether newlines and tabs stay as they are, for a text of several lines such as a traceback. The two characters
        of a Windows line end then count as a newline.
    """
    if newlines:
        return _IN_LINES.sub(_escape, text.replace("\r\n", "\n"))
    return _IN_A_LINE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
