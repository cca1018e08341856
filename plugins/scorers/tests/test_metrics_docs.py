"""docs/metrics.md tells of each metric what its offer does, and its complete example works as it stands there."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pertharness import COLUMNS, make_prediction
from pertharness.testing import call_score

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_example_of_a_metric_runs_as_a_plugin():
    module = ModuleType("my_metrics")
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1], module.__dict__)
    assert [metric.id for scorer in module.describe().scorers for metric in scorer.metrics] == ["mae"]
    truth = make_prediction({"X": np.array([1.0, 2.0]), "Y": np.array([0.0, 0.0])}, ["g1", "g2"])
    prediction = make_prediction({"Y": np.array([1.0, -2.0])}, ["g1", "g2"])
    table = call_score(module, truth, prediction, controls=truth, train=truth, screen=truth)
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


def _rows(head):
    """Return the rows of the first table with such a header, a mapping from column to cell each."""
    header, _, *rest = PAGE.read_text(encoding="utf-8").split(head, 1)[1].split("\n\n", 1)[0].splitlines()
    columns = [name.strip() for name in (head + header).strip("|").split("|")]
    return [dict(zip(columns, map(str.strip, row.strip("|").split("|")), strict=True)) for row in rest]


def _overview():
    return {re.search(r"`(\w+)`", row["id"])[1]: row for row in _rows("| id | level | range | best | chance | source")}


def _number(cell):
    """Return a cell's number; None for words, such as why there is none."""
    text = cell.replace("\u2212", "-")
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def _metrics():
    import pertharness_scorers

    return {metric.id: metric for scorer in pertharness_scorers.describe().scorers for metric in scorer.metrics}


def test_overview_has_the_metrics_of_the_card():
    assert set(_overview()) == set(_metrics())


@pytest.mark.parametrize("name", _metrics())
def test_overview_says_what_the_card_offers(name):
    row, metric = _overview()[name], _metrics()[name]
    assert row["level"] == metric.level
    assert _number(row["best"]) == metric.best
    assert _number(row["chance"]) == metric.chance
    low, high = (cell.replace("\u2212", "-").replace("\u221e", "inf") for cell in row["range"].split(" to "))
    for value in (metric.best, metric.chance):
        assert value is None or float(low) <= value <= float(high)
    # The page says in one line which direction is better: lower where best is 0 or -1.
    assert metric.direction == ("lower" if metric.best in (0, -1) else "higher")


def test_sections_repeat_what_the_overview_says():
    for row in [*_rows("| id | level | range | best | chance | agrees"), *_rows("| id | formula | level | range")]:
        name = re.search(r"`(\w+)`", row["id"])[1]
        overview = _overview()[name]
        assert row["level"] == overview["level"]
        assert row["range"].split(",")[0] == overview["range"]
        assert [_number(row[column]) for column in ("best", "chance")] == [
            _number(overview[column]) for column in ("best", "chance")
        ]
        assert (overview["agrees with"].split(";")[0] == "none") == (row["agrees with"].split(";")[0] == "none")


def test_each_cost_is_on_the_page_with_its_column():
    from pertharness.contract.jobs import Phase

    rows = {row["cost"].strip("`"): row["in `costs.csv`"] for row in _rows("| cost | what it is")}
    assert list(rows) == ["fit_s", "predict_s", "peak_rss_mb", "peak_gpu_mb"]
    assert {re.match(r"`(\w+)`", where)[1] for where in rows.values()} <= set(Phase.model_fields)
