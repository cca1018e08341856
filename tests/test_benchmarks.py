"""The benchmarks work on small files: what they time is what they say."""

import json
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertharness.data.canonical import check_dataset, open_stored, pseudobulk
from pertharness.datasets import load_dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def make_screen(path: Path, form: str, compression: str | None) -> None:
    code = f"from pathlib import Path; from screens import write_screen; write_screen(Path({str(path)!r}), 300, "
    code += f"form={form!r}, compression={compression!r})"
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)


@pytest.mark.parametrize(("form", "compression"), [("csr", None), ("csr", "gzip"), ("csc", "gzip"), ("dense", None)])
def test_the_screens_are_screens_and_their_means_are_right(form: str, compression: str | None, tmp_path: Path) -> None:
    make_screen(tmp_path / "x.h5ad", form, compression)
    check_dataset(load_dataset("h5ad", tmp_path / "x.h5ad", {}), "x")
    whole = anndata.read_h5ad(tmp_path / "x.h5ad")
    dense = whole.X if isinstance(whole.X, np.ndarray) else whole.X.toarray()
    assert ((dense > 0).sum(axis=1) == 2000).all()
    means = pseudobulk(open_stored(tmp_path / "x.h5ad"))
    is_control = (whole.obs["perturbation"] == "control").to_numpy()
    expected = dense[is_control].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(means["control"].X[0], expected, rtol=1e-12)


def test_every_way_is_timed(tmp_path: Path) -> None:
    make_screen(tmp_path / "x.h5ad", "csr", None)
    for way in ("chunks", "pseudobulk", "backed", "copy", "split", "load", "by hand"):
        command = [sys.executable, str(BENCHMARKS / "measure.py"), way, str(tmp_path / "x.h5ad"), "1"]
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert said["seconds"] > 0
        assert 5 < said["peak_mb"] < 600
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5ad"]


def test_the_ways_of_the_linear_model_agree() -> None:
    code = "import linear, numpy; linear.TRAINING, linear.QUERIES, linear.GENES = 30, 9, 50\n"
    code += "given = linear.make_screen(numpy.random.default_rng(0))\n"
    code += "own, plain, *others = [way(*given).X for way in linear.WAYS.values()]\n"
    code += "assert own.shape == (9, 50) and abs(own - plain).max() < 1e-9\n"
    code += "assert all(x.shape == own.shape and abs(x - own).max() > 1e-6 for x in others)"
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)


def test_the_ways_of_locfdr_agree() -> None:
    code = "import locfdr, numpy; values = locfdr.make_values(100_000)\n"
    code += "ours, other = locfdr.by_locfdr(values), numpy.minimum(locfdr.by_statsmodels(values), 1.0)\n"
    # Two methods: not the same numbers, but the same values among the noise and in the tails.
    code += "assert numpy.corrcoef(ours, other)[0, 1] > 0.9 and abs(ours - other).mean() < 0.05"
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)


def test_a_large_run_has_the_rows_and_means_that_pandas_finds(tmp_path: Path) -> None:
    for way in ("make", "join", "again", "plain"):
        command = [sys.executable, str(BENCHMARKS / "large_run.py"), way, str(tmp_path), *(["7500"] * (way == "make"))]
        subprocess.run(command, capture_output=True, check=True)
    scores, plain = (pd.read_csv(tmp_path / name) for name in ("run/scores.csv.gz", "plain.csv.gz"))
    assert len(scores) == len(plain) == 7500 + 25 * 5 * 200
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv").query("stratum == 'all'")
    means = pd.read_csv(tmp_path / "means.csv").query("metric != 'curve'")
    both = board.merge(means, on=["dataset", "model", "metric", "variant"], validate="one_to_one")
    assert len(both) == len(board) == 25 * 20
    np.testing.assert_allclose(both["value_x"], both["value_y"], rtol=1e-11)


def test_a_large_plan_has_the_jobs_that_it_is_asked_for() -> None:
    code = "import plan; jobs, *times = plan.measure(500); assert 500 <= jobs < 1000 and min(times) > 0"
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)


def test_the_file_of_data_check_has_text_columns_and_is_checked(tmp_path: Path) -> None:
    code = f"import data_check; from pathlib import Path; path = Path({str(tmp_path / 'x.h5ad')!r})\n"
    code += "data_check.write_with_texts(path, 400, 'csr', None); print(*data_check.check(path, 1), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert done.stdout.count("| `data check`, x") == 3
    obs = anndata.read_h5ad(tmp_path / "x.h5ad").obs
    texts = [column for column in obs if obs[column].dtype.name not in ("category", "float64")]
    assert texts == ["condition", "barcode", "guide", "sample"]
