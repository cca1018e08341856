"""Write what a person who waits for a job wants to know to the job's log."""

from __future__ import annotations

import sys


def log_line(text: str) -> None:
    """Write a line to the job's log."""
    print(text, file=sys.stderr, flush=True)
