"""Convert the user's settings of pip to those of uv, which does not read them itself."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pertharness.host.recipe.position import toml


@dataclass(frozen=True)
class Setting:
    """An option of pip and the equivalent variable of uv."""

    pip: str
    uv: str
    also: tuple[str, ...] = ()
    """Other variables of uv with the same effect; if one is set, `uv` is left alone."""
    option: str = ""
    """Option to use instead, once per value, because uv 0.5 takes only one value of the variable."""
    in_file: tuple[str, ...] = ()
    """Equivalent keys of ``uv.toml``."""


SETTINGS = (
    Setting("index-url", "UV_DEFAULT_INDEX", ("UV_INDEX_URL",), in_file=("index-url", "index")),
    Setting("extra-index-url", "UV_INDEX", ("UV_EXTRA_INDEX_URL",), in_file=("extra-index-url", "index")),
    Setting("find-links", "UV_FIND_LINKS", option="--find-links", in_file=("find-links",)),
    Setting("trusted-host", "UV_INSECURE_HOST", in_file=("allow-insecure-host",)),
    Setting("timeout", "UV_HTTP_TIMEOUT"),
    Setting("default-timeout", "UV_HTTP_TIMEOUT"),
    Setting("proxy", "ALL_PROXY", ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "all_proxy")),
    Setting("cert", "SSL_CERT_FILE", ("SSL_CERT_DIR",)),
    Setting("client-cert", "SSL_CLIENT_CERT"),
)
"""https://pip.pypa.io/en/stable/topics/configuration and https://docs.astral.sh/uv/reference/environment."""

_INDEXES = ("index-url", "extra-index-url")
OF_THE_HOST = (
    "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_CONSTRAINT",
    "UV_OVERRIDE", "UV_EXCLUDE", "UV_WORKING_DIR", "UV_PROJECT", "__PYVENV_LAUNCHER__",
)  # fmt: skip
"""Variables of another environment that would change the content of this one."""


@dataclass(frozen=True)
class UvSettings:
    """Settings for uv: environment variables, and options of commands that fetch packages."""

    variables: Mapping[str, str]
    options: tuple[str, ...] = ()


def settings_for_uv(environ: Mapping[str, str]) -> UvSettings:
    """Return the user's variables without those of another environment, with pip's settings converted for uv.

    Settings of uv, by variable or in ``uv.toml``, take precedence over those of pip.
    """
    variables = {
        name: text for name, text in environ.items() if not name.startswith("PYTHON") and name not in OF_THE_HOST
    }
    pip_values, in_file = pip_settings(environ), _keys_of_uv(environ)
    no_index = "no-index" in pip_values  # uv has no variable for it
    options = ["--no-index"] if no_index else []
    for setting in SETTINGS:
        value = "" if no_index and setting.pip in _INDEXES else pip_values.get(setting.pip, "")
        if (
            not value
            or in_file & {*setting.in_file}
            or any(variables.get(name) for name in (setting.uv, *setting.also))
        ):
            continue
        if setting.option:
            options += [part for item in value.split() for part in (setting.option, item)]
        else:
            variables[setting.uv] = " ".join(value.split())
        if setting.pip == "extra-index-url":  # pip takes the best version of all indexes, uv that of the first index
            variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return UvSettings({**variables, "PATH": _path(environ), "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}, tuple(options))


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings: those of its files, if pip is installed, overridden by its variables."""
    file_values: dict[str, str] = {}
    lines = _pip_config(environ).splitlines()
    for section in ("global.", "install."):  # the second wins, as with pip
        for line in lines:
            if line.startswith(section) and "=" in line:
                name, _, value = line.removeprefix(section).partition("=")
                file_values[name] = str(ast.literal_eval(value))
    variables = {name[4:].lower().replace("_", "-"): value for name, value in environ.items() if name[:4] == "PIP_"}
    return {name: value for name, value in (file_values | variables).items() if value.lower() not in ("", "0", "false")}


def _pip_config(environ: Mapping[str, str]) -> str:
    """Return pip's list of its settings; empty without pip."""
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip") or ""]
    if not pip[0]:
        return ""
    try:
        done = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, timeout=60, env=dict(environ))
    except (OSError, subprocess.SubprocessError):  # do not fail for a broken pip: its variables still count
        return ""
    return done.stdout if done.returncode == 0 else ""


def _keys_of_uv(environ: Mapping[str, str]) -> set[str]:
    """Return the keys that the user has set in uv's configuration file."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config")
    named = environ.get("UV_CONFIG_FILE")
    keys: set[str] = set()
    for path in [Path(named)] if named else [home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]:
        try:
            data = toml.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # uv itself reports the fault
            continue
        keys |= {*data, *data.get("pip", {})}
    return keys


def _path(environ: Mapping[str, str]) -> str:
    """Return the search path with pyenv's interpreters at its end instead of pyenv's shims, which hide all but one."""
    root = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/")) / ".pyenv")
    versions = [str(path) for path in sorted(root.glob("versions/*/bin"), reverse=True)]
    usual = [part for part in environ.get("PATH", os.defpath).split(os.pathsep) if Path(part) != root / "shims"]
    return os.pathsep.join([*usual, *versions])
