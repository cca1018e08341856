"""A user's machine that a plugin looks around on: a store, secrets, servers, and what earlier jobs left."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import platform
import secrets
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pertharness
import pertharness_baselines
import pertharness_scorers
import pluggy
from pertharness.contract.jobs import Status
from pertharness.data.canonical import write
from pertharness.files.whole import sha256_file
from pertharness.host.store.records import Store
from pertharness.testing import planted_cells
from pertharness.worker.seccomp import NUMBERS

SOURCES = Path(__file__).parent / "spying"
BASE = """
seeds = [2]
models = ["mean"]
scorers = ["l2"]
[datasets.screen]
file = "screen.h5ad"
[[tasks]]
split = {{ kind = "double" }}
[resources]
jobs = 2
timeout_s = 600
"""
SPIES = BASE.replace("[2]", "[1]").replace('["mean"]', '["spy", "spy_alone[G=spied]"]')
SPIES += "[environments.spying]\npython = '{python}'\n"
ALONE = """
import json, sys
from pathlib import Path
from pertharness.worker import observed
{first}
sys.path.insert(0, {packages!r})
import spying
place = spying.look_around(sys.argv[1], {{"MYC+TP53"}})
print(json.dumps({{name: list(spying.CHANNELS[name](place) or ()) for name in {channels!r}}}))
"""
HOOKS = {"import", "describe", "embed", "fit spy", "fit spy_alone", "predict spy", "predict spy_alone"}
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Bait:
    """What the plugin knows beforehand; see ``spying.Place``."""

    store: str
    data: str
    home: str
    run: str
    truth: str
    prediction: str
    scores: str
    train: str
    bait: str
    temporary: str
    shared_memory: str
    socket: str
    abstract: str
    tcp: int
    udp: int
    victim: int
    ipc: int
    queue: str
    key: str
    job: str
    token: str


class Server:
    """Answers whoever asks, over TCP, UDP and sockets of both kinds of names."""

    def __init__(self, folder: Path, work: Path, token: str) -> None:
        self.token = token
        self.path, self.abstract = str(folder / "socket"), f"spied-{token}"
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.named = socket.socket(socket.AF_UNIX)
        self.named.bind(self.path)
        self.hidden = socket.socket(socket.AF_UNIX)
        self.hidden.bind("\0" + self.abstract)
        self.other = socket.socket(socket.AF_UNIX)
        bind_in(work / "out", "s", self.other)
        self.stop, self._stopped = socket.socketpair()
        for listener in (self.named, self.hidden, self.other):
            listener.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (self.tcp, self.udp, self.named, self.hidden, self.other, self._stopped):
                selector.register(one, selectors.EVENT_READ)
            while True:
                for chosen, _ in selector.select():
                    ready = chosen.fileobj
                    assert isinstance(ready, socket.socket)
                    if ready is self._stopped:
                        return
                    if ready is self.udp:
                        ready.sendto(self.token.encode(), ready.recvfrom(16)[1])
                    else:
                        with ready.accept()[0] as connection:
                            connection.recv(1)  # who closes first would break the asker's pipe
                            connection.sendall(self.token.encode())

    def close(self) -> None:
        self.stop.close()
        self.thread.join()
        for one in (self.tcp, self.udp, self.named, self.hidden, self.other, self._stopped):
            one.close()


def bind_in(folder: Path, name: str, listener: socket.socket) -> None:
    """Bind a socket in a folder whose whole name is too long for an address."""
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_PATH)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


class Ground:
    """A user's machine: home with the store, data, a run of other models, and an environment with the plugin."""

    def __init__(self, root: Path, stack: contextlib.ExitStack) -> None:
        self.root, self.token = root, secrets.token_hex(8)
        self.home = root / "home"
        self.store = self.home / ".local" / "share" / "pertharness" / "store"
        self.user = self.home / "user"
        self.user.mkdir(parents=True)
        write(planted_cells(), self.user / "screen.h5ad")
        (self.home / ".netrc").write_text("secret\n", encoding="utf-8")
        self.python = self._install()
        self.run(BASE, "auto", "others")
        self._plant(stack)
        self.bait = self._lay_bait()
        (self.packages / "spying_told.json").write_text(json.dumps(asdict(self.bait)), encoding="utf-8")

    def _install(self) -> Path:
        """Make an environment with the plugin, which finds all else where this interpreter does."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.root / "venv")], check=True)
        [self.packages] = (self.root / "venv" / "lib").glob("python*/site-packages")
        modules = (pluggy, pertharness, pertharness_baselines, pertharness_scorers)
        folders = dict.fromkeys(str(Path(module.__path__[0]).parent) for module in modules)
        (self.packages / "found_there.pth").write_text("\n".join(folders) + "\n", encoding="utf-8")
        (self.packages / "zz_spying.pth").write_text("import spying_startup\n", encoding="utf-8")
        for path in SOURCES.glob("*.py"):
            shutil.copy(path, self.packages)
        info = self.packages / "spying-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spying\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[pertharness]\nspying = spying\n")
        return self.root / "venv" / "bin" / "python"

    def _plant(self, stack: contextlib.ExitStack) -> None:
        """Put a token wherever something of an earlier job, or of the user's, may lie."""
        self.job = self.token * 4
        self.server = Server(self.user, Store.open(self.store).work(self.job), self.token)
        stack.callback(self.server.close)
        self.victim = subprocess.Popen(["sleep", "600"])
        stack.callback(self.victim.wait)
        stack.callback(self.victim.kill)
        for folder in (Path(tempfile.gettempdir()), Path("/dev/shm")):
            (folder / f"spied-{self.token}").write_text(self.token)
            stack.callback(remove_left, folder, f"spied-{self.token}*")
        record = self.store / "scores" / "bait"
        record.mkdir()
        (record / "bait.h5ad").write_text(self.token)
        with contextlib.suppress(OSError):
            os.setxattr(record / "bait.h5ad", "user.spied", self.token.encode())
        self.ipc = int(self.token[:7], 16)
        stack.callback(plant_ipc(self.ipc, self.token))
        stack.callback(plant_queue(f"/spied-{self.token}"))
        stack.callback(plant_key(f"spied-{self.token}", self.token))

    def _lay_bait(self) -> Bait:
        first = {
            name: str(next(self.store.glob(pattern)))
            for name, pattern in {
                "truth": "datasets/*/pseudobulk.h5ad", "prediction": "predictions/*/prediction.h5ad",
                "scores": "scores/*/scores.csv", "train": "splits/*/train.h5ad", "bait": "scores/bait/bait.h5ad",
            }.items()
        }  # fmt: skip
        return Bait(
            store=str(self.store), data=str(self.user / "screen.h5ad"), home=str(self.home),
            run=str(self.user / "others" / "leaderboard.csv"), **first,
            temporary=f"{tempfile.gettempdir()}/spied-{self.token}", shared_memory=f"/dev/shm/spied-{self.token}",
            socket=self.server.path, abstract=self.server.abstract, tcp=self.server.tcp.getsockname()[1],
            udp=self.server.udp.getsockname()[1], victim=self.victim.pid, ipc=self.ipc, queue=f"/spied-{self.token}",
            key=f"spied-{self.token}", job=self.job, token=self.token,
        )  # fmt: skip

    def run(self, recipe: str, isolation: str, name: str, python: str = sys.executable) -> None:
        (self.user / f"{name}.toml").write_text(recipe.format(python=self.python), encoding="utf-8")
        dropped = ("PYTHON", "PERTHARNESS_", "XDG_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        command = [python, "-c", "from pertharness.host.cli import main; main()", "run", f"{name}.toml"]
        command += ["--out", name, "--store", str(self.store), "--isolation", isolation]
        done = subprocess.run(
            command, cwd=self.user, env={**env, "HOME": str(self.home)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def spied(self, isolation: str, *, beside: bool = False) -> dict[str, set[str]]:
        """Return what each channel gave, hook by hook, with a mechanism; the records go, so that another makes them.

        `beside`: the harness is installed where the plugin is.
        """
        before = self._statuses()
        if beside:
            recipe = SPIES.partition("[environments")[0]
            self.run(recipe, isolation, f"beside-{isolation}", str(self.python))
        else:
            self.run(SPIES, isolation, f"spies-{isolation}")
        made = [path.parent for path in self._statuses() - before]
        try:
            return self._read_logs(made, isolation)
        finally:
            for record in made:
                shutil.rmtree(record)

    def _statuses(self) -> set[Path]:
        """Return the status of each record in the store, and of each card that is kept."""
        cards = self.home / ".cache" / "pertharness" / "cards"
        return {*self.store.glob("*/*/status.json"), *cards.glob("*/status.json")}

    @functools.cache  # noqa: B019 - there is one
    def alone(self, channels: tuple[str, ...], *, leaking: bool) -> dict[str, list[str]]:
        """Return what channels give in a process of its own, `leaking`: one that has what a job's never has."""
        first = f"observed._read_means(Path({self.bait.truth!r}))" if leaking else ""
        code = ALONE.format(
            first=first,
            packages=str(self.packages),
            channels=list(channels),
        )
        env = {**os.environ, "HOME": "/", **({"STORE": self.bait.store} if leaking else {})}
        with Path(self.bait.truth).open("rb") as file:
            inherited = (file.fileno(),) if leaking else ()
            command = [sys.executable, "-I", "-c", code, str(self.user)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, pass_fds=inherited)
        assert done.returncode == 0, done.stderr
        answers: dict[str, list[str]] = json.loads(done.stdout)
        return answers

    def _read_logs(self, records: list[Path], isolation: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        seen = set()
        for record in records:
            status = Status.model_validate_json((record / "status.json").read_bytes())
            assert_as_left(record, status)
            if "SPIED" not in (log := (record / "log.txt").read_text(encoding="utf-8")):
                continue
            assert status.isolation is not None
            assert (status.isolation.mechanism, status.isolation.partial) == (isolation, []), status
            for line in log.splitlines():
                if line.startswith("SPIED "):
                    spied = json.loads(line.removeprefix("SPIED "))
                    seen.add(spied["where"])
                    for channel in spied["got"]:
                        found.setdefault(channel, set()).add(f"{spied['where']}: {spied['got'][channel]}")
        assert seen == HOOKS
        return found


def assert_as_left(folder: Path, status: Status) -> None:
    """Check that a record is what its watcher made of it, whatever its job wrote over it, then or later."""
    assert status.state == "done", status
    assert {path.name for path in folder.iterdir()} == {"job.json", "status.json", "log.txt", *status.artefacts}
    for name, artefact in status.artefacts.items():
        assert sha256_file(folder / name) == artefact.sha256


def remove_left(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)


def plant_ipc(key: int, token: str) -> Callable[[], None]:
    """Make a segment, a queue with a message and a semaphore, all of System V, and return what removes them."""
    assert LIBC is not None
    create, remove = 0o1600, 0
    segment, queue, semaphore = LIBC.shmget(key, 64, create), LIBC.msgget(key, create), LIBC.semget(key, 1, create)
    LIBC.shmat.restype = ctypes.c_void_p
    if segment >= 0:
        ctypes.memmove(LIBC.shmat(segment, None, 0), token.encode(), len(token))
    LIBC.msgsnd(queue, (1).to_bytes(8, sys.byteorder) + token.encode(), ctypes.c_size_t(len(token)), 0)

    def clean() -> None:
        LIBC.shmctl(segment, remove, None)
        LIBC.msgctl(queue, remove, None)
        LIBC.semctl(semaphore, 0, remove)

    return clean


def plant_queue(name: str) -> Callable[[], None]:
    assert LIBC is not None
    queue = LIBC.mq_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    if queue >= 0:
        os.close(queue)
    return lambda: LIBC.mq_unlink(name.encode())


def plant_key(name: str, token: str) -> Callable[[], None]:
    assert LIBC is not None
    numbers, user_session, unlink = NUMBERS[platform.machine()], -5, 9
    key = LIBC.syscall(numbers["add_key"], b"user", name.encode(), token.encode(), len(token), user_session)
    return lambda: LIBC.syscall(numbers["keyctl"], unlink, key, user_session)
