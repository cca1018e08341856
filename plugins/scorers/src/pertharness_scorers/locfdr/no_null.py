"""What `locfdr` raises where the values give no null."""

from __future__ import annotations


class NoNull(ValueError):
    """No null can be estimated from these values.

    Attributes
    ----------
    cause
        Why; the message ends with what the caller of `locfdr` can do about it.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"locfdr: {cause}; {remedy}")
        self.cause = cause
