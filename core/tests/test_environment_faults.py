"""What goes wrong with environments: harm done to built ones, and answers to what cannot be built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pertharness.contract.errors import BuildError
from pertharness.host.cli.run import run
from pertharness.host.environments.build import RETRY, build
from pertharness.host.environments.folder import MARKER, fitness, open_folder, site_packages
from pertharness.host.environments.lockfile import write_lock
from pertharness.host.environments.settings import settings_for_uv
from pertharness.host.environments.spec import make_spec
from pertharness.host.environments.uv import NO_ROOM, Uv
from pertharness.host.environments.wheels import core_wheel, read_wheel
from pertharness.host.plugins.registry import find_plugins

if TYPE_CHECKING:
    from conftest import Shelf

POINTER = "tiny.json"


def _no_folder(place: Path) -> None:
    shutil.rmtree(place)


def _no_interpreter(place: Path) -> None:
    (place / "bin" / "python").unlink()


def _other_interpreter(place: Path) -> None:
    _no_interpreter(place)
    (place / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (place / "bin" / "python").chmod(0o755)


def _no_config(place: Path) -> None:
    (place / "pyvenv.cfg").unlink()


def _empty_config(place: Path) -> None:
    (place / "pyvenv.cfg").write_text("")


def _no_package(place: Path) -> None:
    shutil.rmtree(site_packages(place) / "here-1.0.dist-info")


def _no_marker(place: Path) -> None:
    (place / MARKER).unlink()


def _other_source(place: Path) -> None:
    _edit(site_packages(place) / "pertharness_tiny" / "__init__.py")


def _other_worker(place: Path) -> None:
    _edit(site_packages(place) / "pertharness" / "contract" / "jobs.py")


def _edit(path: Path) -> None:
    """Change a file and not its size; it is a link into uv's cache, which stays as it is."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(b"#" + content[1:])


HARM = {
    _no_folder: "its folder is gone",
    _no_interpreter: "its interpreter is gone",
    _other_interpreter: "its bin/python is not a link to the interpreter",
    _no_config: "its pyvenv.cfg is gone",
    _empty_config: "its pyvenv.cfg is gone or damaged",
    _no_package: "here is missing",
    _no_marker: "its environment.json is missing",
    _other_source: "files of 'pertharness_tiny' in it were changed",
    _other_worker: "files of 'pertharness' in it were changed",
}


def test_a_broken_environment_is_named_and_built_again_while_others_go_on(shelf: Shelf) -> None:
    built = shelf.build()
    for harm, why in HARM.items():
        harm(shelf.envs.path_of(built))
        plugins, problems = find_plugins()  # the quick look
        assert ("datasets" in plugins, "tiny" in plugins) == (True, False), why
        (problem,) = [one for one in problems if one.plugin == "tiny"]
        assert problem.state == "failed"
        assert why in problem.message
        assert "pertharness env build tiny" in problem.message
        said: list[str] = []
        again = build("tiny", shelf.envs, say=said.append)
        assert again.folder == built.folder
        assert [line for line in said if line.startswith("tiny: built again, because ") and why in line], said
        assert f"run with {RETRY}" in said[-1]
        assert fitness(shelf.envs, again) == ("ok", "")
        assert "tiny" in find_plugins()[0]


def test_what_failed_in_a_broken_environment_is_done_again_as_its_build_says() -> None:
    assert run.make_context("run", ["--all", *RETRY.split()]).params["retry"] == ("failed", "crashed")


def test_interpreter_and_lock_asked_for_stay_when_an_environment_is_built_again(shelf: Shelf) -> None:
    mine = shelf.root / "my-python"
    mine.symlink_to(Path(sys.executable).resolve())
    path = shelf.plugin()
    first = build(str(path), shelf.envs, python=mine, cpu_only=True)
    assert (first.wanted_python, first.cpu_only) == (str(mine), True)
    (shelf.envs.path_of(first) / MARKER).unlink()
    done = shelf.command("env", "build", "--all")
    assert done.returncode == 0, done.stderr
    second = shelf.envs.current("tiny")
    assert second is not None
    assert (second.wanted_python, second.cpu_only, second.folder) == (str(mine), True, first.folder)
    assert "requested with --cpu" in shelf.command("env", "show", "tiny").stdout
    assert build("tiny", shelf.envs) == second
    assert build("tiny", shelf.envs, cpu_only=False).cpu_only is False  # as the command says
    # A file that cannot be read: the plugin is still known, by what is built.
    (shelf.envs.root / POINTER).write_text("{")
    assert f"{POINTER}' cannot be read" in shelf.command("env", "show", "tiny").stderr
    third = build("tiny", shelf.envs)
    assert (third.asked, third.wanted_python, third.cpu_only) == (str(path), str(mine), True)
    mine.unlink()
    with pytest.raises(
        BuildError, match=r"built with --python '.*my-python', which no longer exists; name another: .* remove"
    ):
        build("tiny", shelf.envs)
    assert build(str(path), shelf.envs).wanted_python == read_wheel(path).requires_python  # the default again


def test_a_python_that_is_too_old_for_the_harness_is_refused(shelf: Shelf) -> None:
    own = str(metadata("pertharness")["Requires-Python"])
    assert read_wheel(core_wheel(shelf.root)).requires_python == own
    with pytest.raises(BuildError, match=r"requires-python '==3\.8\.\*', but pertharness.* requires '>=3\.10'"):
        shelf.build(python="==3.8.*")
    with pytest.raises(BuildError, match=r"requires-python 'three' is not a range of versions; expected one such as"):
        shelf.build(python="three")
    old = shutil.which("python3.9", path=settings_for_uv(os.environ).variables["PATH"])
    # With another home, what is found may be a shim of pyenv that has no such version.
    runs = old is not None and subprocess.run([old, "--version"], capture_output=True).stdout.startswith(b"Python 3.9.")
    if old is None or not runs:
        pytest.skip("no Python 3.9 here")
    with pytest.raises(BuildError, match=r"pertharness requires Python >=3\.10, .*python3\.9 is 3\.9\.\d+; omit"):
        build(str(shelf.plugin(python=">=3.8")), shelf.envs, python=Path(old))


WHEELS = {
    "UTF-16": ({"lock": "a==1".encode("utf-16")}, r"tiny/requirements.lock is not UTF-8: it begins with b'\\xff\\xfe"),
    "twice": ({"lock": "a==1\n\nb==1\nA==2"}, "line 4: 'A==2', but line 1 has 'a==1'; keep one version"),
    "excused": (
        {"extra": {"pertharness_tiny/environment.toml": 'excused = "black"'}},
        r"environment.toml: excused: .* got \{'excused': 'black'\}; expected \[\[excused\]\] with package =",
    ),
    "no plugin": ({"points": ""}, "tiny 1.0 offers no pertharness plugin .*; request a package that does, .*-NAME"),
    "no entry points": ({"points": "{}"}, "is not a complete wheel: Source contains parsing errors"),
}


@pytest.mark.parametrize("case", WHEELS)
def test_a_wheel_that_says_nonsense_is_refused_with_place_and_value(shelf: Shelf, case: str) -> None:
    more, told = WHEELS[case]
    core = read_wheel(core_wheel(shelf.root))
    with pytest.raises(BuildError, match=told):
        make_spec(read_wheel(shelf.plugin(**more)), core, "tiny")


def test_a_lock_may_begin_with_a_mark_and_name_versions_by_marker(shelf: Shelf) -> None:
    lock = "\ufeffa==1 ; sys_platform == 'linux'\na==2 ; sys_platform == 'darwin'\nb==1\nb==1\n"
    spec = make_spec(read_wheel(shelf.plugin(lock=lock)), read_wheel(core_wheel(shelf.root)), "tiny")
    assert spec.lock.startswith("a==1")


PROJECTS = {
    "project = 3": "project is 3; expected a table, [project]",
    "[project]\nentry-points = 3": "project.entry-points is 3; expected a table",
    "[project.entry-points]\npertharness = 'x'": "project.entry-points.pertharness is 'x'; expected a table",
    "[project": "cannot be read: ",
}


@pytest.mark.parametrize("text", PROJECTS)
def test_a_project_of_another_form_is_named_with_its_value(shelf: Shelf, source: Path, text: str) -> None:
    (source / "pyproject.toml").write_text(text)
    for attempt in (lambda: write_lock(source), lambda: build("tiny", shelf.envs, base=shelf.root)):
        with pytest.raises(BuildError) as caught:
            attempt()
        assert f"{str(source / 'pyproject.toml')!r}" in str(caught.value)
        assert PROJECTS[text] in str(caught.value)


def test_a_lock_for_a_python_that_the_plugin_does_not_take_is_refused(shelf: Shelf, source: Path) -> None:
    (source / "pertharness_tiny").mkdir()
    file = source / "pyproject.toml"
    file.write_text(file.read_text().replace("[project]\n", "[project]\nrequires-python = '>=3.10.4,<3.12'\n"))
    for python, told in {
        "3.12": "require >=3.10.4,<3.12,>=3.10;",
        "3.10.2": "require",
        "x": "not a version of Python",
    }.items():
        with pytest.raises(BuildError, match=told):
            write_lock(source, python=python)
    lock = write_lock(source, python="3.11")
    assert "Python 3.11." in lock.read_text()
    lock.write_text(lock.read_text(), encoding="utf-16")
    with pytest.raises(BuildError, match=r"requirements\.lock is not UTF-8"):
        write_lock(source, python="3.11")


def test_a_build_that_fails_shows_its_cause_without_the_way_there(shelf: Shelf, source: Path) -> None:
    (source / "backend.py").write_text("def build_wheel(*_):\n    int('no number')\n")
    with pytest.raises(BuildError) as caught:
        build(str(source), shelf.envs)
    said = str(caught.value)
    assert "ValueError: invalid literal for int() with base 10: 'no number'" in said
    assert not [word for word in ("Traceback", "File ", "\n", "^") if word in said]


def test_what_is_no_plugin_no_interpreter_and_no_folder_is_said(shelf: Shelf) -> None:
    with pytest.raises(BuildError, match="'' names no plugin; expected a folder, a wheel"):
        build("", shelf.envs)
    with pytest.raises(BuildError, match=r"'tiny': --python '/bin/ls' is not a Python interpreter that can be run"):
        build(str(shelf.plugin()), shelf.envs, python=Path("/bin/ls"))
    file = shelf.root / "file"
    file.touch()
    done = shelf.command("env", "list", PERTHARNESS_ENVS=str(file))
    assert (done.returncode, f"{str(file)!r} is a file; expected a folder" in done.stderr) == (1, True)


def test_an_unknown_model_is_looked_for_and_said_once(shelf: Shelf) -> None:
    done = shelf.command("run", "--all", "--build", "--models", "nosuch")
    assert done.returncode == 2
    assert "nosuch: NOT BUILT" in done.stderr
    assert done.stderr.count("pertharness-nosuch was not found") == 1


def test_a_full_disk_is_named_where_it_can_be_told(shelf: Shelf) -> None:
    uv = Uv(Path(shutil.which("uv") or Path(sys.executable).with_name("uv")), settings_for_uv({}), open_folder().root)
    assert shutil.disk_usage(shelf.root).free > NO_ROOM
    said = uv.disk_full()
    assert "(one of: the environments' " in said
    assert str(open_folder().root) in said
    assert "uv's cache '" in said
    assert "TMPDIR '" in said
