"""Build a plugin's environment from its lock, then check and test the plugin in it: ``plugin_environment.py NAME``.

What ``tox -e plugin-NAME`` runs. The environment is made by ``pertharness env build``, as a user makes it, and stays as
its lock says: the tools of the tests lie in a folder beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pertharness.host.environments.folder import open_folder
from pertharness.host.environments.uv import find_uv

ROOT = Path(__file__).parents[1]
TOOLS = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist")


def run(*command: str | Path, **variables: str) -> None:
    """Run a command from the root of the repository, and stop where it fails."""
    print("+", *command, flush=True)
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env={**os.environ, **variables})
    if done.returncode:
        sys.exit(done.returncode)


def main(name: str, *options: str) -> None:
    """Build, check and test one plugin; `options` go to pytest."""
    pertharness = Path(sys.executable).with_name("pertharness")
    run(pertharness, "env", "build", f"plugins/{name}")
    run(pertharness, "env", "remove", name, "--old")  # those of earlier versions of the harness
    run(pertharness, "env", "show", name)
    run(pertharness, "check", name)
    folder = open_folder()
    environment = folder.current(name)
    if environment is None:
        sys.exit(f"there is no environment of {name}")
    python, tools = folder.python(environment), folder.root / f"{name}-tools"
    lock = ROOT / "plugins" / name / "src" / f"pertharness_{name}" / "requirements.lock"
    where = ("--python", python, "--target", tools, "--constraint", lock)
    run(find_uv().program, "pip", "install", "--quiet", *where, *TOOLS)
    # The conformance kit has had its turn, in a worker of its own for each check.
    choice = ("-n", "2", "-k", "not test_conformance", "--timeout", "1800")
    run(python, "-m", "pytest", "-q", f"plugins/{name}/tests", *choice, *options, PYTHONPATH=str(tools))


if __name__ == "__main__":
    main(*sys.argv[1:])
