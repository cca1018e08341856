"""What is asked to be built, and what wheels and files name, can neither hold options nor lead out of the folder."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pertharness.contract.errors import BuildError
from pertharness.host.environments.folder import Folder
from pertharness.host.environments.source import resolve
from pertharness.host.environments.spec import make_spec
from pertharness.host.environments.wheels import write_wheel

OPTIONS = [
    "--index-url=http://127.0.0.1:1", "-e.", "-", "  -r requirements.txt", "--upload-pack=x://y",
    "mine --index-url http://127.0.0.1:1", "mine\n--index-url http://127.0.0.1:1", "mine\r--pre", "mine\x00",
    "mi\x1b[31mne",
    "mine @ http://127.0.0.1:1/x.whl --hash=sha256:0", "mine @ ext::sh -c id", "mine @ ftp://127.0.0.1/x.whl",
    "git+ext::sh -c id", "git+https://127.0.0.1:1/x.git --upload-pack=z",
    "git+https://127.0.0.1:1/x.git@--upload-pack=z",
    "git+ssh://-oProxyCommand=id/x.git", "ssh://-oProxyCommand=id/x.git", "ftp://127.0.0.1/x.whl", "http://[::1",
    "mine ; sys_platform == 'never'", "mine bar", "mine#egg=--pre", "mine,other", " ",
]  # fmt: skip


@pytest.mark.parametrize("asked", OPTIONS, ids=ascii)
def test_what_would_be_an_option_is_refused_before_uv_is_called(asked: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as error:
        resolve(asked, Folder(tmp_path), tmp_path)
    assert repr(asked) in str(error.value) or repr(asked.strip()) in str(error.value)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("mine", "pertharness-mine"),
        ("pertharness-mine>=1,<2", "pertharness-mine>=1,<2"),
        ("pertharness-mine[cuda]==1", "pertharness-mine[cuda]==1"),
        ("mine @ https://127.0.0.1/mine-1-py3-none-any.whl", "mine @ https://127.0.0.1/mine-1-py3-none-any.whl"),
        ("mine@git+https://127.0.0.1/mine@v1", "mine@git+https://127.0.0.1/mine@v1"),
        ("https://127.0.0.1/mine.git", "git+https://127.0.0.1/mine.git"),
        (
            "git+ssh://git@127.0.0.1/mine.git@main#subdirectory=a",
            "git+ssh://git@127.0.0.1/mine.git@main#subdirectory=a",
        ),
    ],
)
def test_what_is_meant_as_it_stands_stays(asked: str, meant: str, tmp_path: Path) -> None:
    assert resolve(asked, Folder(tmp_path), tmp_path) == meant


@pytest.mark.parametrize(
    "point", [("../mine", "mine"), ("a/b", "mine"), ("mine", "../mine"), ("-mine", "mine"), ("", "m")]
)
def test_a_wheel_cannot_name_its_environment_out_of_the_folder(point: tuple[str, str]) -> None:
    wheel = SimpleNamespace(plugins=dict([point]), requires_python="", distribution="mine", version="1")
    with pytest.raises(BuildError, match="names no plugin"):
        make_spec(wheel, wheel, "mine.whl")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "version"), [("../mine", "1"), ("mine", "1/../../x"), ("", "1"), ("mine", "")])
def test_a_package_cannot_name_its_wheel_out_of_the_folder(name: str, version: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot be one"):
        write_wheel(tmp_path / "inside", name, version, {}, {"METADATA": b""})
    path = write_wheel(tmp_path / "inside", "mine", "1", {}, {"METADATA": b"", "WHEEL": b"Tag: ../../evil-none-any\n"})
    assert path.parent == tmp_path / "inside"


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".", "*", "mine.json", "a\nb", "--old"])
def test_no_file_outside_the_folder_is_read_or_removed(name: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "envs")
    folder.root.mkdir()
    (tmp_path / "outside.json").write_text("{}")
    assert folder.current(name) is None
    with pytest.raises(BuildError, match="no environment"):
        folder.remove(name)
    assert (tmp_path / "outside.json").exists()


def test_an_environment_that_names_a_folder_elsewhere_is_not_one(tmp_path: Path) -> None:
    """Else `env remove` would remove what it names."""
    folder, treasure = Folder(tmp_path / "envs"), tmp_path / "treasure"
    treasure.mkdir()
    said = {
        "name": "mine", "module": "mine", "distribution": "mine", "version": "1", "hash": "0", "source": "0",
        "worker": "0", "asked": "mine", "lock": "x", "python": "3", "interpreter": "x", "wanted_python": "3",
        "packages": {}, "built": "now", "seconds": 1,
    }  # fmt: skip
    (folder.root / "mine-0").mkdir(parents=True)
    marker = folder.root / "mine-0" / "environment.json"
    marker.write_text(json.dumps({**said, "folder": "mine-0"}))
    assert [one.folder for one in folder.built()] == ["mine-0"]
    marker.write_text(json.dumps({**said, "folder": "../treasure"}))
    assert folder.built() == []
    with pytest.raises(BuildError, match="no environment 'mine'"):
        folder.remove("mine")
    assert treasure.is_dir()
