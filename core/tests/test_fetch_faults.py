"""Whatever a server, an address or the settings of the network are: fetching ends in words, never in a traceback."""

from __future__ import annotations

import contextlib
import gc
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pertharness.contract.cards import RemoteFile
from pertharness.contract.errors import FetchError
from pertharness.host.fetch import Patience, fetch

pytest.importorskip("requests")

QUICK = Patience(tries=2, backoff_s=0.001, connect_s=2, read_s=2)
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"
Serve = Callable[..., int]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Return a function that starts a server with one answer, of whatever bytes, and returns its port."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    servers: list[socket.socket] = []

    def answer(server: socket.socket, content: bytes, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # the test is over
            with contextlib.suppress(OSError), connection:
                secure = context.wrap_socket(connection, server_side=True) if context else connection
                with secure:
                    secure.recv(1 << 16)
                    secure.sendall(content)

    def start(content: bytes, context: ssl.SSLContext | None = None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=answer, args=(server, content, context), daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Return a certificate for 127.0.0.1 that is signed by nobody else, and a server's context with it."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    folder = tmp_path_factory.mktemp("certificate")
    asked = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    out = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(["openssl", "req", *kind, *asked, *out], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return folder / "certificate.pem", context


def words_of(url: str, folder: Path) -> str:
    with pytest.raises(FetchError) as caught:
        fetch(RemoteFile(url=url, filename="a.bin"), name="m", folder=folder, patience=QUICK)
    message = str(caught.value)
    assert f"save {url} as" in message
    return message


def test_a_certificate_that_nobody_trusts_is_named_with_the_remedy(
    serve: Serve, certificate: tuple[Path, ssl.SSLContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = certificate
    url = f"https://127.0.0.1:{serve(FINE, context)}/a"
    message = words_of(url, tmp_path)
    assert "cannot be reached" in message
    assert "certificate verify failed: self-signed certificate; if" in message
    assert "REQUESTS_CA_BUNDLE" in message
    assert "given up" not in message  # the same certificate is not asked for again
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    fetched = fetch(RemoteFile(url=url, filename="a.bin"), name="m", folder=tmp_path, patience=QUICK)
    assert fetched.read_bytes() == b"abcd"


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["absent", "damaged"])
def test_a_file_of_certificates_that_cannot_be_used_is_no_fault_of_the_folder(
    content: str | None, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content, encoding="utf-8")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    message = words_of(f"https://127.0.0.1:{serve(FINE)}/a", tmp_path / "data")
    assert "certificate" in message
    assert "make the folder writable" not in message


def test_a_server_without_tls_is_named(serve: Serve, tmp_path: Path) -> None:
    assert "wrong version number" in words_of(f"https://127.0.0.1:{serve(FINE)}/a", tmp_path).lower().replace("_", " ")


@pytest.mark.parametrize(
    "address",
    [
        f"http://{'a' * 70}.invalid/x", "http://a..b/", "http://[::1", "http://127.0.0.1:99999/", "http://%zz/", "http://",
        "https://ä\0.invalid/", "http://\ud800.invalid/", "http://*.invalid/", "//x/y", " ",
    ],
    ids=ascii,
)  # fmt: skip
def test_an_address_that_cannot_be_one_is_refused(address: str, tmp_path: Path) -> None:
    assert "cannot be fetched" in words_of(address, tmp_path)


@pytest.mark.parametrize("proxy", ["http://[::1", "nonsense://x", "http://", "socks5://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_one_is_refused(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}.items():
        monkeypatch.setenv(name, value)
    assert "cannot be fetched" in words_of("http://example.invalid/a", tmp_path)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "nothing": b"",
    "no HTTP": b"\x00\xff garbage\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lengths that differ": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nab",
    "chunk without a length": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "chunk cut short": OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nab",
    "no gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
    "300 headers": OK + b"".join(b"X%d: y\r\n" % i for i in range(300)) + b"\r\nab",
    "header of 70 000 letters": OK + b"X: " + b"y" * 70_000 + b"\r\n\r\nab",
    "status of five digits": b"HTTP/1.1 99999 X\r\n\r\n",
    "wait of 5000 digits": b"HTTP/1.1 503 X\r\nRetry-After: x" + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
    **{
        f"redirect to {to!a}": b"HTTP/1.1 302 Found\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"
        for to in (b"http://[::1", b"file:///etc/passwd", b"http://" + b"a" * 70 + b"/", b"\xff\xfe",
                   b"http://127.0.0.1:99999/", b"http://a\x00b/")
    },
}  # fmt: skip


# requests leaves a connection to the garbage collector where it cannot read the address of a redirect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_cannot_be_understood_is_told_in_words(case: str, serve: Serve, tmp_path: Path) -> None:
    message = words_of(f"http://127.0.0.1:{serve(ANSWERS[case])}/a", tmp_path)
    assert len(message) < 1500
    gc.collect()  # a connection that was left open is warned of here, and fails this test, not a later one


def test_a_length_of_5000_digits_says_nothing_of_the_file(serve: Serve, tmp_path: Path) -> None:
    """Python reads no such number; some versions of urllib3 take what comes, others find it too short."""
    answer = OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabcd"
    source = RemoteFile(url=f"http://127.0.0.1:{serve(answer)}/a", filename="a.bin")
    try:
        came = fetch(source, name="m", folder=tmp_path, patience=QUICK).read_bytes()
    except FetchError as error:
        came = str(error).encode()
    assert came == b"abcd" or b"broke off" in came
