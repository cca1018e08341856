"""Code that is run by somebody to whom permissions apply, also where the tests are root's."""

import ctypes
import os
import subprocess
import sys
import tempfile


def drop_overrides() -> None:
    """Give up, with the next exec, what lets root pass over permissions (capabilities 1 to 3, by prctl 24)."""
    for capability in (1, 2, 3) if os.getuid() == 0 else ():
        if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):
            os._exit(1)


def as_a_user(code: str) -> str:
    """Return what code prints that is run by somebody to whom permissions apply, in a folder of its own: `top`."""
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [sys.executable, "-c", f"import os\nfrom pathlib import Path\ntop = Path({name!r})\n{code}"],
            capture_output=True, text=True, cwd="/", check=False, preexec_fn=drop_overrides,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
