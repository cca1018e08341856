from __future__ import annotations

import hashlib
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.cards import MetricOffer, TableOffer
from pertharness.host.leaderboard.curves import average_curves
from pertharness.host.leaderboard.pooled import Piece, join_table


def piece(folder, table, *, model="gears", seed=1, training_seed=1, params=""):
    text = table.to_csv(index=False)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path = folder / f"{model}{params}-{seed}-{training_seed}.csv"
    path.write_text(text, encoding="utf-8")
    return Piece("demo", "double", "some", model, params, training_seed, "double", seed, path, sha256)


def joined(offer, pieces, folder):
    path = folder / "joined" / f"{offer.name}.csv"
    parts = join_table(offer, pieces, path)
    table = pd.read_csv(path, keep_default_na=False)
    assert len(table) == sum(part.n_rows for part in parts)
    assert [one.name for one in path.parent.iterdir()] == [path.name]  # nothing half beside it
    return table


def offer(**fields):
    return TableOffer(name="entries", **{"level": "entry", **fields})


def test_tables_of_all_models_and_splits_are_one_and_say_whose_each_row_is(tmp_path):
    pieces = [
        piece(tmp_path, pd.DataFrame({"gene": ["A", "B"], "x": [0.1, 1e-300]}), seed=10),
        piece(tmp_path, pd.DataFrame({"gene": ["C"], "x": [1 / 3]}), seed=2),
        piece(tmp_path, pd.DataFrame({"gene": ["D"], "y": ["a, b"]}), model="cpa", params="k=4"),
    ]
    table = joined(offer(), pieces, tmp_path)
    columns = ["dataset", "task", "plugin", "model", "params", "split", "seed", "training_seed", "gene", "y", "x"]
    assert list(table.columns) == columns
    # By model, then by the number that the seed is: 2 before 10.
    assert table[["model", "params", "seed", "gene"]].to_numpy().tolist() == [
        ["cpa", "k=4", 1, "D"], ["gears", "", 2, "C"], ["gears", "", 10, "A"], ["gears", "", 10, "B"]
    ]  # fmt: skip
    assert table["x"].tolist() == ["", "0.3333333333333333", "0.1", "1e-300"]  # every digit, and nothing for no value
    assert table["y"].tolist() == ["a, b", "", "", ""]


def test_a_table_of_the_dataset_is_held_once_whatever_the_number_of_models_and_splits(tmp_path):
    facts = pd.DataFrame({"name": ["upper", "lower"], "value": [0.2, -0.2]})
    other = pd.DataFrame({"name": ["upper", "lower"], "value": [0.2, -0.3]})
    pieces = [piece(tmp_path, facts, seed=1), piece(tmp_path, facts, model="cpa"), piece(tmp_path, other, seed=2)]
    table = joined(offer(level="dataset"), pieces, tmp_path)
    assert list(table.columns) == ["dataset", "task", "name", "value"]
    assert table["value"].tolist() == [0.2, -0.2, -0.3]


def test_the_largest_are_those_of_a_model_s_splits_together(tmp_path):
    one = pd.DataFrame({"gene": list("ABCD"), "x": [0.5, -3.0, np.nan, 2.0]})
    two = pd.DataFrame({"gene": list("EFGH"), "x": [-2.0, 9.0, 0.1, 2.0]})
    pieces = [piece(tmp_path, two, seed=2), piece(tmp_path, one, seed=1), piece(tmp_path, one, model="cpa")]
    table = joined(offer(largest=("x", 4)), pieces, tmp_path)
    # Of gears: 9 (F), -3 (B), then 2 (D, of seed 1), then -2 (E) before 2 (H): equal, and it came first.
    gears = table[table["model"] == "gears"]
    assert gears["gene"].tolist() == ["F", "B", "D", "E"]
    assert gears["seed"].tolist() == [2, 1, 1, 2]
    assert table[table["model"] == "cpa"]["gene"].tolist() == ["B", "D", "A"]  # NaN is no value


def test_training_seeds_are_not_pooled(tmp_path):
    tables = [pd.DataFrame({"x": [float(n)]}) for n in (1, 2)]
    pieces = [piece(tmp_path, one, training_seed=n) for n, one in enumerate(tables, 1)]
    assert joined(offer(largest=("x", 1)), pieces, tmp_path)["training_seed"].tolist() == [1, 2]


def test_the_largest_are_counted_by_the_columns_that_the_card_names(tmp_path):
    one = pd.DataFrame({"x": [5.0, -4.0, 0.1], "said": ["a", "b", "a"], "is": ["a", "a", "a"]})
    two = pd.DataFrame({"x": [3.0, -6.0], "said": ["b", "a"], "is": ["a", "a"]})
    pieces = [piece(tmp_path, one, seed=1), piece(tmp_path, two, seed=2)]
    table = joined(offer(largest=("x", 4), count=("said", "is")), pieces, tmp_path)
    # The 0.1 is not among the four largest: a, a twice (5 and -6), b, a twice (-4 and 3).
    columns = ["dataset", "task", "plugin", "model", "params", "training_seed", "said", "is", "n"]
    assert list(table.columns) == columns
    assert table[["said", "is", "n"]].to_numpy().tolist() == [["a", "a", 2], ["b", "a", 2]]


def test_rows_can_be_counted_by_split(tmp_path):
    one = pd.DataFrame({"gene": ["B", "A", "B"]})
    pieces = [piece(tmp_path, one, seed=1), piece(tmp_path, one[:1], seed=2)]
    table = joined(offer(count=("seed", "gene")), pieces, tmp_path)
    assert table[["seed", "gene", "n"]].to_numpy().tolist() == [[1, "A", 1], [1, "B", 2], [2, "B", 1]]
    assert list(table.columns).count("seed") == 1


def test_tables_without_a_row_or_a_column_join_to_one_without_rows(tmp_path):
    empty = [piece(tmp_path, pd.DataFrame({"x": []}), seed=1), piece(tmp_path, pd.DataFrame(), seed=2)]
    for asked in ({}, {"largest": ("x", 3)}, {"count": ("x",)}, {"level": "dataset"}):
        assert len(joined(offer(**asked), empty[:1], tmp_path)) == 0
    assert len(joined(offer(), empty, tmp_path)) == 0


rows = st.lists(
    st.tuples(st.floats(-4, 4).map(lambda x: round(x)), st.sampled_from("ab")), max_size=12
).map(lambda pairs: pd.DataFrame(pairs, columns=["x", "class"]))  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_largest_agree_with_a_sort_of_everything_in_any_order(tmp_path_factory, tables, n, random):
    folder = tmp_path_factory.mktemp("pooled")
    pieces = [piece(folder, table.astype({"x": float}), seed=seed) for seed, table in enumerate(tables, 1)]
    random.shuffle(pieces)
    table = joined(offer(largest=("x", n)), pieces, folder)
    flat = [(x, name, seed) for seed, one in enumerate(tables, 1) for x, name in one.itertuples(index=False)]
    expected = sorted(flat, key=lambda row: -abs(row[0]))[:n]  # Python's sort is stable
    assert list(table[["x", "class", "seed"]].itertuples(index=False, name=None)) == expected
    counted = joined(offer(largest=("x", n), count=("class",)), pieces, folder)
    assert counted["n"].sum() == len(expected)


CURVES = {"roc": MetricOffer(id="roc", level="curve", direction="higher", best=1.0, variants=("default", "other"))}


def point(coordinate, value, *, model="gears", seed=1, training_seed=1, variant="default", metric="roc"):
    return {
        "dataset": "demo", "task": "double", "plugin": "some", "model": model, "params": "", "split": "double",
        "seed": seed, "training_seed": training_seed, "perturbation": "", "gene": "", "metric": metric,
        "variant": variant, "coordinate": coordinate, "value": value, "state": "done",
    }  # fmt: skip


def test_curves_are_averaged_over_splits_point_by_point():
    scores = [
        point(0.0, 0.1), point(0.0, 0.3, training_seed=2), point(0.5, 0.4),
        point(0.0, 0.6, seed=2), point(0.5, np.nan, seed=2), point(0.0, 0.9, variant="other"),
        point(np.nan, 0.7, metric="auprc"),
    ]  # fmt: skip
    table = average_curves(pd.DataFrame(scores), CURVES)
    default = table[table["variant"] == "default"]
    # At 0: split 1 is (0.1 + 0.3) / 2 = 0.2, split 2 is 0.6; mean 0.4, sd 0.4 / sqrt 2, standard error 0.2.
    assert default["coordinate"].tolist() == [0.0, 0.5]
    assert default["mean"].tolist() == pytest.approx([0.4, 0.4])
    assert default["se"].iloc[0] == pytest.approx(0.2)
    assert np.isnan(default["se"].iloc[1])
    assert default["n_splits"].tolist() == [2, 1]
    assert table["metric"].unique().tolist() == ["roc"]
    assert len(average_curves(pd.DataFrame(scores[-1:]), CURVES)) == 0
    assert len(average_curves(pd.DataFrame(), CURVES)) == 0


def test_mean_curves_are_the_same_bytes_in_any_order_of_scores():
    rng = np.random.default_rng(0)
    scores = pd.DataFrame([
        point(x / 10, rng.random(), model=model, seed=seed) for x in range(10) for model in "ab" for seed in range(5)
    ])  # fmt: skip
    texts = set()
    for seed in range(3):
        text = io.StringIO()
        average_curves(scores.sample(frac=1, random_state=seed), CURVES).to_csv(text, index=False)
        texts.add(text.getvalue())
    assert len(texts) == 1
