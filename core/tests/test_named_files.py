"""Files that parameters name: a sandboxed job reads these, and nothing that lies beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pertharness.host.store.records import Store
from pertharness.worker.landlock import abi_version

if TYPE_CHECKING:
    from conftest import Shelf

READING = """
from pathlib import Path
from pertharness import Card, ModelOffer, hookimpl, make_prediction
OFFER = ModelOffer(name="tiny", summary="s", tasks=("double", "single"), input="pseudobulk", information="controls",
                   cheap=CHEAP, params={"terms": ""}, file_params=("terms",))

@hookimpl
def describe():
    return Card(models=(OFFER,))

@hookimpl
def fit(params):
    named = Path(params["terms"])
    print("named:", named.read_text())
    try:
        print("beside:", (named.parent / "truth.csv").read_text())
    except PermissionError:
        print("beside: out of reach")
    return "nothing"

@hookimpl
def predict(controls, queries):
    mean = controls.X.mean(axis=0)
    return make_prediction({query: mean for query in queries}, controls.var_names)
"""
RECIPE = """
name = "tiny"
seeds = [1]
models = ["tiny[terms=FOLDER/terms.csv]"]
scorers = ["l2"]
datasets.demo.params = { n_genes = 60, n_cells = 10 }
[[tasks]]
split = { kind = "double" }
"""


@pytest.mark.skipif(not abi_version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("cheap", [True, False])
def test_a_sandboxed_job_reads_the_file_that_a_parameter_names(shelf: Shelf, cheap: bool) -> None:
    folder = shelf.root / "terms of mine"
    folder.mkdir()
    (folder / "hidden.csv").write_text("GO:1")
    (folder / "terms.csv").symlink_to("hidden.csv")  # it is the file that counts, not its name
    (folder / "truth.csv").write_text("the truth")
    shelf.build(text=READING.replace("CHEAP", str(cheap)))
    (shelf.root / "tiny.toml").write_text(RECIPE.replace("FOLDER", str(folder)))
    done = shelf.command("run", "tiny.toml", "--isolation", "landlock", "--out", str(shelf.root / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store.open(shelf.root / "store")
    (record,) = (store.root / "predictions").iterdir()
    assert (record / "log.txt").read_text() == "named: GO:1\nbeside: out of reach\n"
    status = store.status("predictions", record.name)
    assert status is not None
    assert "file terms" in status.inputs
