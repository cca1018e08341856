"""Fetching from a real server on the loopback: break-offs, redirects, wrong files, none at all."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.cards import RemoteFile
from pertharness.contract.errors import FetchError
from pertharness.host.fetch import Patience, fetch
from pertharness.host.fetch.download import download

pytest.importorskip("requests")

QUICK = Patience(tries=3, backoff_s=0.001, connect_s=5, read_s=5)
BODY = random.Random(0).randbytes(1_000_000)
OTHER = random.Random(1).randbytes(1_000_000)


@dataclass
class Served:
    """What the server does with one path."""

    body: bytes = BODY
    etag: str | None = '"one"'
    modified: str | None = None
    kind: str = "application/octet-stream"
    breaks: list[int] = field(default_factory=list)
    """After how many bytes of the body each of the next answers breaks off."""
    statuses: list[int] = field(default_factory=list)
    """Answers that come before the file does."""
    ranges: bool = True
    honest_ranges: bool = True
    sized: bool = True
    squeeze: bool = False
    to: str | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    """Headers of the requests that came."""


@dataclass
class Site:
    """A server and what it serves."""

    address: str
    files: dict[str, Served]

    def serve(self, path: str, **how: Any) -> tuple[str, Served]:
        served = self.files[path] = Served(**how)
        return f"{self.address}{path}", served


class Handler(BaseHTTPRequestHandler):
    """Answer as the server's table says."""

    def log_message(self, *_: object) -> None:
        """Show nothing."""

    def do_GET(self) -> None:
        served: Served | None = self.server.files.get(self.path)  # type: ignore[attr-defined]
        if served is None:
            return self.answer(404, b"nothing here")
        served.asked.append({name.lower(): value for name, value in self.headers.items()})
        if served.to is not None:
            return self.answer(302, b"over there", {"Location": served.to})
        if served.statuses:
            return self.answer(served.statuses.pop(0), b"not now", {"Retry-After": "0"})
        return self.file(served)

    def file(self, served: Served) -> None:
        headers = {"Content-Type": served.kind, "ETag": served.etag, "Last-Modified": served.modified}
        body, status = served.body, 200
        if served.squeeze:
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        start = self.start(served)
        if start and start >= len(body):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        if start:
            shift = 0 if served.honest_ranges else 1
            headers["Content-Range"] = f"bytes {start - shift}-{len(body) - 1}/{len(body)}"
            body, status = body[start - shift :], 206
        size = served.breaks.pop(0) if served.breaks else len(body)
        return self.answer(status, body, headers, size=size, sized=served.sized)

    def start(self, served: Served) -> int:
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") in (served.etag, served.modified)
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked and same and served.ranges else 0

    def answer(
        self, status: int, body: bytes, headers: dict[str, str | None] | None = None, size: int | None = None,
        *, sized: bool = True,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for name, value in (headers or {}).items():
            if value is not None:
                self.send_header(name, value)
        if sized:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:size])
        self.close_connection = True


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = {}  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Site(f"http://127.0.0.1:{server.server_port}", server.files)  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def zipped(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in entries.items():
            archive.writestr(zipfile.ZipInfo(name.replace("__", "/")), body)  # of 1980: names of tests hold the bytes
    return out.getvalue()


def names(folder: Path) -> list[str]:
    """Return the files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


# --- download: the part file


def test_progress_ends_with_the_whole_size(site: Site, tmp_path: Path) -> None:
    url, _ = site.serve("/a")
    seen: list[tuple[int, int | None]] = []
    download(url, tmp_path / "a.part", patience=QUICK, progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "a.part").read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("etag", "modified", "validator"),
    [('"one"', None, '"one"'), (None, "Wed, 01 Jan 2020 00:00:00 GMT", "Wed, 01 Jan 2020 00:00:00 GMT")],
)
def test_broken_downloads_go_on_where_they_broke_off(
    site: Site, tmp_path: Path, etag: str | None, modified: str | None, validator: str
) -> None:
    url, served = site.serve("/a", breaks=[300_000, 300_000], etag=etag, modified=modified)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY
    ranges = [asked.get("range") for asked in served.asked]
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges[1:] if asked]
    assert ranges[0] is None
    assert 0 < starts[0] < starts[1] < len(BODY)
    assert [asked.get("if-range") for asked in served.asked] == [None, validator, validator]


def test_part_survives_the_call_and_the_next_call_goes_on(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a", breaks=[300_000, 0, 0, 0])
    with pytest.raises(FetchError, match=r"broke off.*given up after 3 tries"):
        download(url, tmp_path / "a.part", patience=QUICK)
    kept = (tmp_path / "a.part").stat().st_size
    assert 200_000 < kept <= 300_000
    served.breaks.clear()
    served.asked.clear()
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY
    assert [asked["range"] for asked in served.asked] == [f"bytes={kept}-"]


def test_many_break_offs_of_a_large_file_pass(site: Site, tmp_path: Path) -> None:
    body = random.Random(2).randbytes(8_000_000)
    url, _ = site.serve("/a", body=body, breaks=[1_500_000] * 5)  # five break-offs, three tries
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == body


@pytest.mark.parametrize("etag", ['W/"weak"', None])
def test_without_a_strong_validator_it_starts_over(site: Site, tmp_path: Path, etag: str | None) -> None:
    url, served = site.serve("/a", breaks=[300_000], etag=etag)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY
    assert ["range" in asked for asked in served.asked] == [False, False]


def interrupted(site: Site, part: Path, **how: Any) -> tuple[str, Served]:
    """Begin a download that breaks off at 300 000 bytes."""
    url, served = site.serve("/a", breaks=[300_000], **how)
    with pytest.raises(FetchError):
        download(url, part, patience=Patience(tries=1, backoff_s=0.001))
    return url, served


def test_file_that_changed_between_tries_is_fetched_whole(site: Site, tmp_path: Path) -> None:
    url, served = interrupted(site, tmp_path / "a.part")
    served.body, served.etag = OTHER, '"two"'
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == OTHER


def test_server_that_ignores_ranges_is_fetched_whole(site: Site, tmp_path: Path) -> None:
    url, served = interrupted(site, tmp_path / "a.part", ranges=False)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY
    assert "range" in served.asked[-1]


@pytest.mark.parametrize("lie", [{"honest_ranges": False}, {"body": BODY + b"longer"}, {"body": BODY[:1000]}])
def test_answer_that_is_not_the_rest_starts_over(site: Site, tmp_path: Path, lie: dict[str, Any]) -> None:
    # a 206 that begins elsewhere or is of another size, and a 416
    url, served = interrupted(site, tmp_path / "a.part")
    for name, value in lie.items():
        setattr(served, name, value)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == served.body


def test_part_of_another_address_is_not_used(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a.part")
    url, served = site.serve("/b", body=OTHER)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == OTHER
    assert "range" not in served.asked[0]


@pytest.mark.parametrize("note", ["", "{", '{"url": 1}'])
def test_damaged_note_starts_over(site: Site, tmp_path: Path, note: str) -> None:
    url, _ = interrupted(site, tmp_path / "a.part")
    (tmp_path / "a.part.json").write_text(note)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY


def test_whole_part_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a")
    download(url, tmp_path / "a.part", patience=QUICK)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert len(served.asked) == 1


def test_file_of_unknown_size_is_fetched(site: Site, tmp_path: Path) -> None:
    url, _ = site.serve("/a", sized=False)
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY


def test_compression_on_the_way_is_undone(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a", squeeze=True, breaks=[300_000])
    download(url, tmp_path / "a.h5ad.part", patience=QUICK)
    assert (tmp_path / "a.h5ad.part").read_bytes() == BODY
    assert served.asked[0]["accept-encoding"] == "identity"
    assert "range" not in served.asked[1]  # the part holds plain bytes, the range would be of compressed ones


def test_gzip_file_stays_one_when_the_server_names_its_encoding(site: Site, tmp_path: Path) -> None:
    url, _ = site.serve("/a", squeeze=True)
    download(url, tmp_path / "a.tar.gz.part", patience=QUICK)
    assert gzip.decompress((tmp_path / "a.tar.gz.part").read_bytes()) == BODY


@pytest.mark.parametrize("absolute", [True, False])
def test_redirects_are_followed_and_resumed(site: Site, tmp_path: Path, absolute: bool) -> None:
    target, served = site.serve("/storage/a?signature=1", breaks=[300_000])
    url, _ = site.serve("/api/1", to=target if absolute else "/storage/a?signature=1")
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY
    assert served.asked[1]["if-range"] == '"one"'


def test_redirect_loop_is_an_error(site: Site, tmp_path: Path) -> None:
    url, _ = site.serve("/a", to="/b")
    site.serve("/b", to="/a")
    with pytest.raises(FetchError, match="redirects"):
        download(url, tmp_path / "a.part", patience=QUICK)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(site: Site, tmp_path: Path, status: int) -> None:
    url, served = site.serve("/a", statuses=[status, status])
    download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == BODY
    assert len(served.asked) == 3


def test_server_that_stays_busy_is_given_up(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a", statuses=[503] * 9)
    with pytest.raises(FetchError, match=r"/a answered HTTP 503 .*given up after 3 tries"):
        download(url, tmp_path / "a.part", patience=QUICK)
    assert len(served.asked) == 3


@pytest.mark.parametrize("status", [202, 403, 404, 410])
def test_refusal_is_told_at_once(site: Site, tmp_path: Path, status: int) -> None:
    url, served = site.serve("/a", statuses=[status] * 9)
    with pytest.raises(FetchError, match=f"/a answered HTTP {status}"):
        download(url, tmp_path / "a.part", patience=QUICK)
    assert len(served.asked) == 1
    assert names(tmp_path) == []


def test_web_page_is_refused_and_does_not_cost_the_part(site: Site, tmp_path: Path) -> None:
    url, served = interrupted(site, tmp_path / "a.part")
    kept = (tmp_path / "a.part").read_bytes()
    served.body, served.etag, served.kind = b"\n<!DOCTYPE html><title>Log in</title>", None, "text/html"
    with pytest.raises(FetchError, match=r"a web page, not the file \(text/html; it begins with .*DOCTYPE"):
        download(url, tmp_path / "a.part", patience=QUICK)
    assert (tmp_path / "a.part").read_bytes() == kept


# --- fetch: the whole way


def test_fetched_zip_is_unpacked_recorded_and_not_fetched_again(site: Site, tmp_path: Path) -> None:
    body = zipped(norman__perturb=BODY)
    url, served = site.serve("/a", body=body, breaks=[300_000])
    source = RemoteFile(url=url, filename="norman.zip", member="perturb")
    path = fetch(source, name="norman", folder=tmp_path, patience=QUICK)
    assert path == tmp_path / "norman" / "perturb"
    assert path.read_bytes() == BODY
    assert names(tmp_path / "norman") == ["norman.zip", "perturb"]
    files = json.loads((tmp_path / "checksums.json").read_text())["files"]
    assert {name: (entry["sha256"], entry["size"], entry["url"]) for name, entry in files.items()} == {
        "norman/norman.zip": (sha256(body).hexdigest(), len(body), url),
        "norman/perturb": (sha256(BODY).hexdigest(), len(BODY), url),
    }
    asked = len(served.asked)
    assert fetch(source, name="norman", folder=tmp_path, patience=QUICK) == path
    assert len(served.asked) == asked


def test_pinned_file_is_checked(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a")
    pinned = sha256(BODY).hexdigest()
    source = RemoteFile(url=url, filename="weights.bin", sha256=pinned.upper())
    fetch(source, name="m", folder=tmp_path / "good", patience=QUICK)
    served.body, served.etag = OTHER, '"two"'
    with pytest.raises(
        FetchError, match=f"{url} is not the expected file: .*{sha256(OTHER).hexdigest()}.*{pinned}.*--again"
    ):
        fetch(source, name="m", folder=tmp_path / "bad", patience=QUICK)
    assert names(tmp_path / "bad" / "m") == []


def test_a_file_with_another_md5_is_not_kept(site: Site, tmp_path: Path) -> None:
    url, _ = site.serve("/a")
    right, wrong = (RemoteFile(url=url, filename="a.bin", md5=md5(body).hexdigest()) for body in (BODY, OTHER))
    with pytest.raises(FetchError, match=f"the file from {url} is not the expected file: its md5 is {right.md5}"):
        fetch(wrong, name="m", folder=tmp_path, patience=QUICK)
    assert names(tmp_path / "m") == []
    assert fetch(right, name="m", folder=tmp_path, patience=QUICK).read_bytes() == BODY


def test_published_file_that_changed_is_refused_until_accepted(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a")
    source = RemoteFile(url=url, filename="a.bin")
    path = fetch(source, name="m", folder=tmp_path, patience=QUICK)
    path.unlink()
    served.body, served.etag = OTHER, '"two"'
    sums = f"{sha256(OTHER).hexdigest()}.*{sha256(BODY).hexdigest()}"
    with pytest.raises(FetchError, match=f"{url} has changed: .*{sums}.*`pertharness data fetch m --again`"):
        fetch(source, name="m", folder=tmp_path, patience=QUICK)
    assert not path.exists()
    assert fetch(source, name="m", folder=tmp_path, again=True, patience=QUICK).read_bytes() == OTHER
    assert fetch(source, name="m", folder=tmp_path, patience=QUICK).read_bytes() == OTHER


def test_fetching_again_keeps_the_old_file_until_the_new_one_is_there(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a", body=zipped(perturb=BODY))
    source = RemoteFile(url=url, filename="a.zip", member="perturb")
    path = fetch(source, name="m", folder=tmp_path, patience=QUICK)
    served.statuses = [404]
    with pytest.raises(FetchError, match="HTTP 404"):
        fetch(source, name="m", folder=tmp_path, again=True, patience=QUICK)
    assert fetch(source, name="m", folder=tmp_path, patience=QUICK).read_bytes() == BODY
    served.body, served.etag = zipped(perturb=OTHER), '"two"'
    assert fetch(source, name="m", folder=tmp_path, again=True, patience=QUICK) == path
    assert fetch(source, name="m", folder=tmp_path, patience=QUICK).read_bytes() == OTHER


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "is not a .zip file: it begins with"),
        (b"", "is not a .zip file: it is empty"),
        (b"PK\x03\x04 and then nothing", "not a complete zip"),
        (b"<html><body>moved</body></html>", "a web page"),
        (zipped(other=b"x"), "holds no file named 'perturb'"),
        (zipped(**{"..__perturb": b"x"}), "leads out of its folder"),
    ],
)
def test_wrong_or_hostile_file_is_neither_kept_nor_recorded(
    site: Site, tmp_path: Path, body: bytes, message: str
) -> None:
    url, served = site.serve("/a", body=body)
    source = RemoteFile(url=url, filename="a.zip", member="perturb")
    with pytest.raises(FetchError, match=message):
        fetch(source, name="m", folder=tmp_path, patience=QUICK)
    assert names(tmp_path) == ["m"]
    assert names(tmp_path / "m") == []
    served.body, served.etag = zipped(perturb=BODY), '"two"'
    assert fetch(source, name="m", folder=tmp_path, patience=QUICK).read_bytes() == BODY


def closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/a", "http://no-such-host.invalid/a"])
def test_offline_says_which_file_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    url = address.format(port=closed_port())
    source = RemoteFile(url=url, filename="norman.zip", member="perturb")
    with pytest.raises(FetchError) as caught:
        fetch(source, name="norman", folder=tmp_path, patience=QUICK)
    message = str(caught.value)
    assert f"{url} cannot be reached" in message
    assert f"as {tmp_path}/norman/norman.zip or, unpacked, as {tmp_path}/norman/perturb, then rerun." in message


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "norman.zip", "file:///etc/passwd"])
def test_address_that_is_none_of_the_web_is_an_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchError, match=f"{url} cannot be fetched"):
        fetch(RemoteFile(url=url, filename="a.bin"), name="m", folder=tmp_path, patience=QUICK)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_told_and_what_came_is_kept(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a")
    source = RemoteFile(url=url, filename="a.bin")
    with largest_file(400_000), pytest.raises(FetchError, match=r"the disk is full.*PERTHARNESS_DATA, then rerun"):
        fetch(source, name="m", folder=tmp_path, patience=QUICK)
    kept = (tmp_path / "m" / "a.bin.part").stat().st_size
    assert 0 < kept <= 400_000
    assert fetch(source, name="m", folder=tmp_path, patience=QUICK).read_bytes() == BODY
    assert served.asked[-1]["range"] == f"bytes={kept}-"


def test_two_processes_fetch_one_file_once(site: Site, tmp_path: Path) -> None:
    url, served = site.serve("/a", body=zipped(perturb=BODY))
    code = (
        "import sys; from pathlib import Path; from pertharness.contract.cards import RemoteFile\n"
        "from pertharness.host.fetch import fetch\n"
        "source = RemoteFile(url=sys.argv[1], filename='a.zip', member='perturb')\n"
        "print(fetch(source, name='m', folder=Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, url, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ), text=True) for _ in range(2)]
    paths = [process.communicate(timeout=300)[0].strip() for process in both]
    assert paths == [str(tmp_path / "m" / "perturb")] * 2
    assert Path(paths[0]).read_bytes() == BODY
    assert len(served.asked) == 1


def test_fetching_prints_nothing_of_its_own(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    url, _ = site.serve("/a")
    fetch(RemoteFile(url=url, filename="a.bin"), name="m", folder=tmp_path, patience=QUICK)
    assert capfd.readouterr() == ("", "")
