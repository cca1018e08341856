"""What the tests of environments share: wheels that they write themselves, in place of an index."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from pertharness.host.environments.build import build
from pertharness.host.environments.folder import Environment, Folder
from pertharness.host.environments.wheels import requirement_name as name_of
from pertharness.host.environments.wheels import worker_requirements, write_wheel
from tiny_plugin import TINY_PLUGIN

PERTHARNESS = str(Path(sys.executable).with_name("pertharness"))
THIS_PYTHON = f"=={sys.version_info.major}.{sys.version_info.minor}.*"
PINS = [*(f"{name_of(text)}==99" for text in worker_requirements()), "here==1.0"]


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage() -> Iterator[None]:
    """Let what the tests of a module leave open be warned of here, and not in a test of another module."""
    yield
    gc.collect()


def wheel(folder: Path, name: str, version: str = "1.0", *, requires: tuple[str, ...] = (), **more: object) -> Path:
    """Write a wheel with the files of `more["files"]`; a plugin if `more["points"]` names its module."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    lines += [f"Requires-Python: {more['python']}"] if more.get("python") else []
    info = {"METADATA": "\n".join([*lines, ""]).encode()}
    if more.get("points"):
        info["entry_points.txt"] = f"[pertharness]\n{more['points']}\n".encode()
    files = {
        path: text if isinstance(text, bytes) else text.encode() for path, text in dict(more.get("files") or {}).items()
    }  # type: ignore[call-overload]
    return write_wheel(folder, name, version, files, info)


@dataclass(frozen=True)
class Shelf:
    """A folder of wheels that stands for the index, and one of environments.

    What a worker requires is there by name only; the modules come by a .pth file from the packages that run this test.
    """

    root: Path
    text: ClassVar[str] = TINY_PLUGIN
    pins: ClassVar[list[str]] = PINS
    program: ClassVar[str] = PERTHARNESS
    wheel = staticmethod(wheel)

    @property
    def envs(self) -> Folder:
        return Folder(self.root / "envs")

    @property
    def wheels(self) -> Path:
        return self.root / "wheels"

    def lock(self, *more: str) -> str:
        return "\n".join(["# all of it", *self.pins, *more])

    def plugin(
        self, version: str = "1.0", *, lock: str | bytes | None = None, text: str = TINY_PLUGIN, **more: object
    ) -> Path:
        """Write the wheel of the plugin `tiny`."""
        files = {"pertharness_tiny/__init__.py": text, "pertharness_tiny/requirements.lock": lock or self.lock()}
        files |= dict(more.pop("extra", {}))  # type: ignore[call-overload]
        usual: dict[str, object] = {"python": THIS_PYTHON, "points": "tiny = pertharness_tiny"}
        return wheel(self.root / "own", "pertharness-tiny", version, files=files, **usual | more)  # type: ignore[arg-type]

    def build(self, **more: object) -> Environment:
        return build(str(self.plugin(**more)), self.envs)  # type: ignore[arg-type]

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [PERTHARNESS, *arguments], cwd=self.root, env={**os.environ, **variables}, capture_output=True, text=True
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done


def import_paths() -> list[str]:
    """Return the folders that this interpreter imports packages from, those installed to be edited among them."""
    packages = Path(sysconfig.get_path("purelib"))
    lines = [line.strip() for file in sorted(packages.glob("*.pth")) for line in file.read_text().splitlines()]
    return [str(packages), *(line for line in lines if line.startswith("/"))]


@pytest.fixture
def python_with(tmp_path: Path) -> Callable[[str, str], Path]:
    """Make an interpreter that finds a module of a name and text, as one of a plugin's environment finds its own."""

    def make(name: str, text: str) -> Path:
        venv.EnvBuilder(symlinks=True).create(tmp_path / "env")
        (packages,) = (tmp_path / "env").glob("lib/python3*/site-packages")
        (packages / "here.pth").write_text("".join(f"{path}\n" for path in import_paths()))
        (packages / f"{name}.py").write_text(text)
        return tmp_path / "env" / "bin" / "python"

    return make


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shelf")
    for text in worker_requirements():
        wheel(root / "wheels", name_of(text), "99")
    wheel(root / "wheels", "here", files={"here.pth": "".join(f"{path}\n" for path in import_paths())})
    return root


@pytest.fixture
def shelf(stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    settings = {
        "PIP_FIND_LINKS": str(stocked / "wheels"), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull,
        "UV_CACHE_DIR": str(stocked / "cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "XDG_CONFIG_HOME": str(tmp_path), "PERTHARNESS_ENVS": str(tmp_path / "envs"),
        "PERTHARNESS_STORE": str(tmp_path / "store"), "PERTHARNESS_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Shelf(tmp_path)


BACKEND = """
import zipfile
from pathlib import Path
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "pertharness_tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as archive:
        for path in sorted(Path("wheel").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to("wheel"))
    return name
"""


@pytest.fixture
def source(shelf: Shelf) -> Path:
    """The source folder of the plugin, with a build backend of its own, so that nothing has to be brought for it."""
    folder = shelf.root / "plugins" / "tiny"
    shutil.unpack_archive(shelf.plugin(), folder / "wheel", "zip")
    (folder / "backend.py").write_text(BACKEND)
    system = 'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    points = '[project.entry-points.pertharness]\ntiny = "pertharness_tiny"\n'
    project = 'name = "pertharness-tiny"\nversion = "1.0"\ndependencies = ["here"]\n'
    (folder / "pyproject.toml").write_text(f"[build-system]\n{system}\n[project]\n{project}\n{points}")
    return folder
