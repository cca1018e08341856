"""The checks of a file of predictions that need no dataset, before anything else is done.

``python -m pertharness.worker.external.check``, with a JSON object on the standard input: ``file``, and what the user
says of it under ``choices``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pertharness.contract.errors import PertharnessError
from pertharness.worker.external.file import FileChoices, open_predictions, refuse_counts


def main() -> int:
    """Return 0 where nothing is wrong so far, else 1, with the reason on the standard error."""
    request = json.loads(sys.stdin.read())
    try:
        refuse_counts(open_predictions(Path(request["file"]), FileChoices(**request["choices"])))
    except PertharnessError as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
