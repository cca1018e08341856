"""What uv is told of pip's settings, and what is told of uv's complaints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pertharness.contract.errors import BuildError
from pertharness.host.environments.settings import UvSettings, pip_settings, settings_for_uv
from pertharness.host.environments.spec import locked
from pertharness.host.environments.uv import DISK_FULL, explain, find_uv, warnings_of


def told(tmp_path: Path, config: str = "", uv: str = "", **variables: str) -> UvSettings:
    """Return what uv is told where a user has these files and variables."""
    (tmp_path / "pip.conf").write_text(config)
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text(uv)
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    return settings_for_uv({"PATH": os.environ["PATH"], **home, **variables})


def test_variables_of_pip_are_told_to_uv(tmp_path: Path) -> None:
    both = told(
        tmp_path, PIP_INDEX_URL="https://a/simple", PIP_EXTRA_INDEX_URL="https://b/simple https://c/simple",
        PIP_FIND_LINKS="/wheels /more", PIP_CERT="/ca.pem", PIP_PROXY="http://p:1", PIP_DEFAULT_TIMEOUT="180",
        PIP_TRUSTED_HOST="a", PIP_CLIENT_CERT="/me.pem",
    )  # fmt: skip
    found = both.variables
    assert found["UV_DEFAULT_INDEX"] == "https://a/simple"
    assert found["UV_INDEX"] == "https://b/simple https://c/simple"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert both.options == ("--find-links", "/wheels", "--find-links", "/more")
    assert (found["SSL_CERT_FILE"], found["SSL_CLIENT_CERT"]) == ("/ca.pem", "/me.pem")
    assert (found["ALL_PROXY"], found["UV_HTTP_TIMEOUT"], found["UV_INSECURE_HOST"]) == ("http://p:1", "180", "a")


def test_files_of_pip_are_told_where_pip_is_there_and_its_variables_win(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    config = "[global]\nindex-url = https://file/simple\nfind-links = /g\n    /h\n[install]\nfind-links = /i\n    /j\n"
    found = told(tmp_path, config, PIP_INDEX_URL="https://variable/simple")
    assert found.variables["UV_DEFAULT_INDEX"] == "https://variable/simple"
    assert found.options == ("--find-links", "/i", "--find-links", "/j")


@pytest.mark.parametrize(
    ("uv", "variables"),
    [
        ('find-links = ["/u"]\n[[index]]\nurl = "https://u/simple"\n', {}),
        ('[pip]\nfind-links = ["/u"]\nindex-url = "https://u/simple"\n', {}),
        ("", {"UV_FIND_LINKS": "/u", "UV_INDEX_URL": "https://u/simple"}),
    ],
)
def test_what_uv_itself_was_told_wins(tmp_path: Path, uv: str, variables: dict[str, str]) -> None:
    found = told(tmp_path, "", uv, PIP_FIND_LINKS="/p", PIP_INDEX_URL="https://p/simple", **variables)
    assert found.options == ()
    assert found.variables.get("UV_FIND_LINKS") == variables.get("UV_FIND_LINKS")
    assert "UV_DEFAULT_INDEX" not in found.variables


def test_no_index_leaves_no_index_and_no_is_no(tmp_path: Path) -> None:
    variables = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "https://a/simple", "PIP_CONFIG_FILE": os.devnull}
    found = settings_for_uv({"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables})
    assert found.options == ("--no-index",)
    assert "UV_DEFAULT_INDEX" not in found.variables
    assert "no-index" not in pip_settings({"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_NO_INDEX": "0"})


def test_variables_of_another_environment_stay_outside(tmp_path: Path) -> None:
    other = {"PYTHONPATH": "/x", "PYTHONHOME": "/x", "VIRTUAL_ENV": "/x", "UV_PYTHON": "2.7", "UV_CONSTRAINT": "/c.txt"}
    found = told(tmp_path, **other, LANG="C").variables
    assert not {*other} & {*found}
    assert found["LANG"] == "C"


def test_interpreters_of_pyenv_are_on_the_path_and_its_shims_are_not(tmp_path: Path) -> None:
    for version in ("3.10.1", "3.12.2"):
        (tmp_path / "pyenv" / "versions" / version / "bin").mkdir(parents=True)
    root = tmp_path / "pyenv"
    found = told(tmp_path, PYENV_ROOT=str(root), PATH=f"{root / 'shims'}{os.pathsep}/bin").variables
    versions = [str(root / "versions" / version / "bin") for version in ("3.12.2", "3.10.1")]
    assert found["PATH"].split(os.pathsep) == ["/bin", *versions]


MISSING = """Using Python 3.11.7 environment at: /x
error: No solution found when resolving dependencies
  cause: Because nosuch was not found in the package registry and you require nosuch==1.0,
         we can conclude that your requirements are unsatisfiable.
"""
OLDER = """  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of numpy==1.99 and you require
      numpy==1.99, we can conclude that your requirements are unsatisfiable.
"""  # noqa: RUF001 - as uv prints it


def test_a_complaint_is_one_line_with_the_package_and_what_to_do() -> None:
    assert explain(MISSING) == (
        "Because nosuch was not found in the package registry and you require nosuch==1.0; "
        "check name and version, and pip's or uv's index and find-links settings"
    )
    assert explain(OLDER).startswith("Because there is no version of numpy==1.99 and you require numpy==1.99; check")
    assert explain("error: failed to copy\n  cause: No space left on device (os error 28)") == DISK_FULL
    assert "the index is not reachable" in explain("error: x\n  cause: dns error\n")
    cut = explain(f"error: a{'b' * 900}\n  cause: the cause")
    assert (len(cut) < 620, cut.startswith("ab"), cut.endswith("the cause")) == (True, True, True)
    assert explain("") == "uv ended without a message"


def test_warnings_are_kept_once() -> None:
    assert warnings_of("warning: a is yanked\nResolved\nwarning: a is yanked\n") == ["a is yanked"]


def test_uv_is_found_or_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_uv().program.name == "uv"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(BuildError, match="pip install uv"):
        find_uv({"PATH": str(tmp_path)})


def test_a_lock_is_read_without_its_comments() -> None:
    assert locked("# all\n\nSome_Name==1.2.post1  # why\nb==2 ; python_version > '3'\n") == {
        "some-name": "1.2.post1", "b": "2",
    }  # fmt: skip
