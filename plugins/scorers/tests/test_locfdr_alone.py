"""locfdr could be a distribution of its own: it works where neither the plugin nor pertharness is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pertharness_scorers.locfdr

WITHOUT = """
import sys
sys.modules["pertharness"] = sys.modules["pertharness_scorers"] = None  # what an import finds that is not installed
sys.path.insert(0, sys.argv[1])
import numpy as np
from locfdr import NoNull, locfdr, nearest_thresholds

values = np.concatenate([np.random.default_rng(0).normal(size=950), np.linspace(4, 6, 50)])
result = locfdr(values)
print(nearest_thresholds(values, result.fdr).upper)
try:
    locfdr(values[:10])
except NoNull as error:
    print(error)
"""


def test_locfdr_works_without_the_plugin_and_without_pertharness(tmp_path):
    shutil.copytree(Path(pertharness_scorers.locfdr.__file__).parent, tmp_path / "locfdr")
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    upper, refusal = done.stdout.splitlines()
    assert 2.5 < float(upper) < 4.5
    assert refusal == "locfdr: expected at least 500 values to estimate a null from, got 10; add values"
