"""The complete example of docs/metrics.md works as it stands there."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pluggy
from pertharness import hookspecs, make_prediction
from pertharness.scores import COLUMNS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_example_of_a_metric_runs_as_a_plugin():
    module = ModuleType("my_metrics")
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1], module.__dict__)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    assert [metric.id for scorer in manager.hook.describe().scorers for metric in scorer.metrics] == ["mae"]
    truth = make_prediction({"X": np.array([1.0, 2.0]), "Y": np.array([0.0, 0.0])}, ["g1", "g2"])
    prediction = make_prediction({"Y": np.array([1.0, -2.0])}, ["g1", "g2"])
    table = manager.hook.score(
        name="mae", truth=truth, prediction=prediction, controls=truth, train=truth, screen=truth,
        references={}, task=None, params={}, seed=0,
    )  # fmt: skip
    assert tuple(table.columns) == COLUMNS
    # (|1 - 0| + |-2 - 0|) / 2
    assert table[["perturbation", "value"]].to_numpy().tolist() == [["Y", 1.5]]


def test_page_documents_each_metric_of_the_plugin():
    import pertharness_scorers

    text = PAGE.read_text(encoding="utf-8")
    for scorer in pertharness_scorers.describe().scorers:
        for metric in scorer.metrics:
            assert f"| `{metric.id}` |" in text
            assert all(f"`{variant}`" in text for variant in metric.variants)
        assert all(f"`{table.name}`" in text for table in scorer.tables)
