"""What a .pth file of the plugin's environment executes when the interpreter starts, before all else."""

import contextlib
import json
import sys
from pathlib import Path

with contextlib.suppress(OSError):
    told = json.loads(Path(__file__).with_name("spying_told.json").read_text(encoding="utf-8"))
    with open(told["truth"], "rb") as file:
        sys._spied = file.read(64)
