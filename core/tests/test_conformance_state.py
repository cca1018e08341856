"""State that a plugin keeps outside of its own package, in another module of its distribution, is found by the kit."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import PluginRef
from pertharness.testing.checks import run_check
from pertharness.testing.fresh import fresh_modules, own_modules

PLUGIN = """
import numpy as np
from pertharness import Card, EmbeddingOffer, MetricOffer, ModelOffer, ScorerOffer, hookimpl, make_prediction
from {kept} import KEPT
@hookimpl
def describe():
    metric = MetricOffer(id="mae", direction="lower", best=0.0)
    return Card(
        models=(ModelOffer(name="m", summary="s", tasks=("single",), input="pseudobulk", information="training",
                           cheap=True, deterministic=True),),
        embeddings=(EmbeddingOffer(name="e", summary="s", kinds=("gene",)),),
        scorers=(ScorerOffer(name="s", summary="s", metrics=(metric,)),),
    )

@hookimpl
def fit(train):
    return KEPT.setdefault("fit", np.asarray(train.X).mean(axis=0))

@hookimpl
def predict(model, controls, queries):
    return make_prediction({{query: model for query in queries}}, controls.var_names)

@hookimpl
def embed(train):
    import pandas as pd
    return KEPT.setdefault("embed", pd.DataFrame(train.X.T, index=train.var_names))

@hookimpl
def score(truth, prediction):
    import pandas as pd
    row_of = {{label: row for row, label in enumerate(truth.obs["perturbation"])}}
    rows = []
    for label, values in zip(prediction.obs["perturbation"], prediction.X):
        kept = KEPT.setdefault((label, tuple(truth.var_names)), truth.X[row_of[label]])
        rows.append((label, "", "mae", "default", "", abs(values - kept).mean()))
    return pd.DataFrame(rows, columns=["perturbation", "gene", "metric", "variant", "coordinate", "value"])
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginRef:
    """A plugin that is installed with a second package beside its own, and keeps what it made in a module of that."""
    files = {"keeping_plugin/__init__.py": PLUGIN.format(kept="keeping_beside.inner"),
             "keeping_beside/__init__.py": "", "keeping_beside/inner.py": "KEPT = {}\n"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    info = tmp_path / "keeping-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: keeping\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    (info / "entry_points.txt").write_text("[pertharness]\nkeeping = keeping_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "keeping_plugin", raising=False)
    for name in ("keeping_beside", "keeping_beside.inner"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return PluginRef(name="keeping", module="keeping_plugin", version="1.0")


@pytest.mark.parametrize("check", ["m-single-no_state", "e-gene-no_state", "s-no_state"])
def test_what_is_kept_in_another_module_of_the_distribution_is_found(check: str, plugin: PluginRef) -> None:
    with pytest.raises(ContractError, match="keep nothing in the module"):
        run_check(check, plugin)


def test_modules_of_the_distribution_are_imported_anew_and_come_back(plugin: PluginRef) -> None:
    own = own_modules(plugin.module)
    assert own == ["keeping_beside", "keeping_plugin"]
    before = importlib.import_module("keeping_beside.inner")
    before.KEPT["a"] = 1
    with fresh_modules(own):
        assert importlib.import_module("keeping_beside.inner").KEPT == {}
    assert importlib.import_module("keeping_beside.inner") is before


def test_of_the_harness_only_the_module_of_the_plugin_is_imported_anew() -> None:
    assert own_modules("pertharness.datasets") == ["pertharness.datasets"]
