"""Downloads that can be resumed: a received part is kept, and only the rest is requested (RFC 9110, 13.1.5 and 14)."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from pertharness.contract.errors import FetchError
from pertharness.files.whole import write_text
from pertharness.host.fetch.kinds import is_web_page
from pertharness.version import __version__

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, "int | None"], None]
"""Called with the number of received bytes and the size of the file, None if the server does not state it."""

_PIECE = 1 << 16
_HEADWAY = 1 << 20
"""An attempt with this many new bytes does not count as failed, so that a large file may break off often."""
_LONGEST_WAIT_S = 60.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_HEADERS = {
    "User-Agent": f"pertharness/{__version__}",
    # Sizes and ranges are those of the file itself, not of a compressed form of it.
    "Accept-Encoding": "identity",
}


_FAULTS = (OSError, ValueError, http.client.HTTPException)
"""Errors of the libraries: all of requests are OSErrors, urllib3's on addresses are ValueErrors."""
_OWN_CERTIFICATES = (
    "if a proxy or server uses a certificate of your organisation, set REQUESTS_CA_BUNDLE to a file of the "
    "certificates to trust"
)
_MOST_WORDS = 400
"""Longest error that is shown, in characters: a server may send headers and numbers of any length."""
_MOST_DIGITS = 18
"""Most digits of a length that a server states; Python refuses to read 5000 digits."""


class SourceError(FetchError):
    """The source cannot be reached, or does not return the file."""


class _BreakOff(FetchError):
    """An attempt failed for a reason that may not recur."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Patience:
    """How often and how long to try."""

    tries: int = 5
    """Failed attempts in a row that end a download."""
    backoff_s: float = 0.5
    """Wait after the first failed attempt; doubled after each further one."""
    connect_s: float = 15.0
    read_s: float = 60.0


PATIENCE = Patience()


class _Note(BaseModel):
    """What is known about the file that a part belongs to."""

    url: str
    validator: str | None
    """Strong ETag or Last-Modified; without one, it is unknown whether the rest belongs to the same file."""
    total: int | None


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    """Delete a part before its note, so that a note never belongs to bytes of another file."""
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)


def _read_note(part: Path, url: str) -> _Note | None:
    """Return the note of a part that can be resumed, or None."""
    try:
        note = _Note.model_validate_json(_note_path(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return None
    return note if note.url == url and note.validator and _size(part) else None


def download(url: str, part: Path, *, patience: Patience = PATIENCE, progress: Progress | None = None) -> None:
    """Download the file at `url` to `part`, continuing what an earlier call left there.

    If the download ends early, the received bytes stay in `part`, with their validator in ``PART.json``. The caller
    moves the complete file away with `take`.

    Raises
    ------
    SourceError
        The source was not reached, answered with an error or with a web page.
    OSError
        `part` cannot be written.
    """
    import requests

    failures, most = 0, _size(part)
    with requests.Session() as session:
        while True:
            try:
                return _attempt(session, url, part, patience, progress)
            except _BreakOff as error:
                failures = 0 if _size(part) >= most + _HEADWAY else failures + 1
                most = max(most, _size(part))
                if failures >= patience.tries:
                    raise SourceError(f"{error} (given up after {failures} tries)") from error
                time.sleep(max(patience.backoff_s * 2.0**failures, min(error.wait_s, _LONGEST_WAIT_S)))


def take(part: Path, target: Path) -> None:
    """Move a whole download to `target`."""
    _note_path(part).unlink(missing_ok=True)
    part.replace(target)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _attempt(session: requests.Session, url: str, part: Path, patience: Patience, progress: Progress | None) -> None:
    """Request the file once, or its missing rest."""
    note = _read_note(part, url)
    start = _size(part) if note else 0
    if note and start == note.total:
        return
    with _ask(session, url, patience, start, note) as response:
        _require_answer(response, url, part, start, note)
        if note is None or response.status_code == 200:
            start, note = 0, _note_of(response, url, part)
        _receive(response, url, part, start, note, progress)


def _ask(session: requests.Session, url: str, patience: Patience, start: int, note: _Note | None) -> requests.Response:
    """Send the request, following redirects."""
    import requests
    from urllib3.exceptions import HTTPError

    headers = dict(_HEADERS)
    if note and note.validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": note.validator}
    timeout = (patience.connect_s, patience.read_s)
    try:
        with contextlib.ExitStack() as answers:  # a redirect that cannot be followed would leave its connection open
            response = session.get(
                url, headers=headers, stream=True, timeout=timeout,
                hooks={"response": lambda answer, **_: answers.push(answer)},
            )  # fmt: skip
            answers.pop_all()
            return response
    except requests.exceptions.SSLError as error:
        message = f"{url} cannot be reached: {_cause(error)}"
        if _innermost(error, ssl.SSLCertVerificationError):  # another attempt would meet the same certificate
            raise SourceError(f"{message}; {_OWN_CERTIFICATES}") from error
        raise _BreakOff(message) from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _BreakOff(f"{url} cannot be reached: {_cause(error)}") from error
    except (HTTPError, *_FAULTS) as error:  # requests does not wrap all errors of the libraries below it
        raise SourceError(f"{url} cannot be fetched: {_cause(error)}") from error


def _inner(error: BaseException) -> BaseException | None:
    """Return the error inside one of requests or urllib3, else None; the ``reason`` of an SSLError is a text."""
    inside = (getattr(error, "reason", None), *error.args)
    return next((candidate for candidate in inside if isinstance(candidate, BaseException)), None)


def _innermost(error: BaseException, kind: type[BaseException] = BaseException) -> BaseException | None:
    """Return the innermost error of a kind, None if there is none."""
    last = None
    current: BaseException | None = error
    while current is not None:
        last = current if isinstance(current, kind) else last
        current = _inner(current)
    return last


def _cause(error: BaseException) -> str:
    """Return the message of the innermost error; the outer ones repeat the address."""
    innermost = _innermost(error) or error
    words = re.sub(r"^\w+\(.*?\): ", "", str(innermost), flags=re.DOTALL)
    return re.sub(r" \(_ssl\.c:\d+\)$", "", words)[:_MOST_WORDS] or type(innermost).__name__


def _require_answer(response: requests.Response, url: str, part: Path, start: int, note: _Note | None) -> None:
    """Raise an error unless the answer is the whole file (200) or the rest of a part (206)."""
    status = response.status_code
    if status in _TRY_AGAIN:
        wait = response.headers.get("Retry-After", "")
        raise _BreakOff(_said(response, url), wait_s=float(wait) if wait.isdecimal() else 0.0)
    if status == 200 or (status == 206 and note and _fits(response, start, note)):
        return
    if note is None or status not in (206, 416):
        raise SourceError(_said(response, url))
    _forget(part)
    raise _BreakOff(f"{_said(response, url)}: this is not the rest of the file; starting over")


def _said(response: requests.Response, url: str) -> str:
    via = "" if response.url == url else f" (redirected to {response.url})"
    return f"{url}{via} answered HTTP {response.status_code} {response.reason}"


def _fits(response: requests.Response, start: int, note: _Note) -> bool:
    """Return whether a 206 begins where the part ends, in the same file."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if match is None or _number(match[1]) != start:
        return False
    same_total = match[2] == "*" or note.total is None or _number(match[2]) == note.total
    return same_total and _validator(response) in (None, note.validator)


def _validator(response: requests.Response) -> str | None:
    """Return the strong ETag, else the date of the last change, else None."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _encoded(response: requests.Response, part: Path) -> bool:
    """Return whether the body was compressed for transfer, although that was not requested.

    Some servers name the encoding of a file that *is* a gzip (Apache's AddEncoding); such a body is kept unchanged.
    """
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    return encoding != "identity" and not part.stem.lower().endswith((".gz", ".tgz"))


def _length(response: requests.Response) -> int | None:
    return _number(response.headers.get("Content-Length", ""))


def _number(text: str) -> int | None:
    """Return a number of a header, None if it is not usable."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _note_of(response: requests.Response, url: str, part: Path) -> _Note:
    if _encoded(response, part):  # the sizes are those of the compressed form
        return _Note(url=url, validator=None, total=None)
    return _Note(url=url, validator=_validator(response), total=_length(response))


def _receive(
    response: requests.Response, url: str, part: Path, start: int, note: _Note, progress: Progress | None
) -> None:
    """Write the body to the part, from `start` on, and check that it is complete."""
    pieces = _pieces(response, url, part)
    first = next(pieces, b"")
    if not start:
        _refuse_page(first, response, url)
        _forget(part)
        write_text(_note_path(part), note.model_dump_json())
    done = start
    with part.open("ab" if start else "wb") as file:
        for piece in itertools.chain([first], pieces):
            file.write(piece)
            done += len(piece)
            if progress:
                progress(done, note.total)
    length = _length(response)
    short = length is not None and response.raw.tell() != length
    if short or (note.total is not None and done != note.total):
        raise _BreakOff(f"the download of {url} broke off after {done} of {note.total or 'unknown'} bytes")


def _pieces(response: requests.Response, url: str, part: Path) -> Iterator[Any]:
    """Yield the body in pieces; raise an error if the connection breaks."""
    from urllib3.exceptions import HTTPError

    try:
        yield from response.raw.stream(_PIECE, decode_content=_encoded(response, part))
    except (HTTPError, *_FAULTS) as error:
        raise _BreakOff(f"the download of {url} broke off: {_cause(error)}") from error


def _refuse_page(start: bytes, response: requests.Response, url: str) -> None:
    """Refuse a web page, such as a login or consent page, before it replaces a part."""
    if is_web_page(start):
        kind = response.headers.get("Content-Type", "no content type")
        raise SourceError(
            f"{url} returned a web page, not the file ({kind}; it begins with "
            f"{start[:60].decode('utf-8', 'replace')!r}); "
            "open the address in a browser to see what is needed"
        )
