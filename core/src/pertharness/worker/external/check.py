"""Check a file of predictions without its dataset, before anything else is done.

Run as ``python -m pertharness.worker.external.check`` with a JSON object on standard input: ``file``, and the user's
options under ``choices``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pertharness.contract.errors import PertharnessError
from pertharness.worker.external.file import FileChoices, open_predictions, refuse_counts


def main() -> int:
    """Return 0 if no problem was found, else 1 with the message on standard error."""
    request = json.loads(sys.stdin.read())
    try:
        refuse_counts(open_predictions(Path(request["file"]), FileChoices(**request["choices"])))
    except PertharnessError as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
