"""Run the jobs whose files are named."""

import sys

from pertharness.worker.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
