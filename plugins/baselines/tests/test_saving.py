"""Models come back from their files as they were: to the last bit, sparse or dense, and without pickled objects."""

import numpy as np
import pandas as pd
import pertharness_baselines as plugin
import pytest
from pertharness.testing import call_fit, call_predict, planted_means, pose

SINGLES = ["CEBPE", "KLF1", "BAK1"]


def restored(name, model, tmp_path):
    plugin.save_model(name, model, tmp_path)
    return plugin.load_model(name, tmp_path)


@pytest.mark.parametrize("name", ["no_change", "mean", "additive", "linear"])
def test_a_restored_model_predicts_the_same_bits_and_reasons(name, tmp_path):
    model = call_fit(plugin, name=name, embeddings={})
    queries = [*pose("double", "pseudobulk").queries, *pose("single", "pseudobulk").queries, "NOT_A_GENE"]
    first = call_predict(plugin, model, queries=queries, name=name)
    second = call_predict(plugin, restored(name, model, tmp_path), queries=queries, name=name)
    assert list(first.obs["perturbation"]) == list(second.obs["perturbation"])
    assert np.array_equal(first.X, second.X)
    assert first.uns["unanswered"] == second.uns["unanswered"]


def test_sparse_and_partial_embeddings_come_back(tmp_path):
    train = planted_means()
    genes = [str(gene) for gene in train.var_names]
    singles = [str(label) for label in train.obs["perturbation"] if "+" not in str(label) and label != "control"]
    embeddings = {
        "G": pd.DataFrame(np.random.default_rng(1).normal(size=(30, 3)), index=genes[:30]),
        "P": pd.DataFrame(np.eye(len(singles)), index=singles),
    }
    model = call_fit(plugin, train, name="linear", embeddings=embeddings)
    assert hasattr(model.perturbation.values, "tocsr")
    again = restored("linear", model, tmp_path)
    first, second = (call_predict(plugin, each, queries=[*singles, "NEW"], name="linear") for each in (model, again))
    assert np.array_equal(first.X, second.X, equal_nan=True)
    assert np.isnan(first.X).any()
    assert (
        first.uns["unanswered"] == second.uns["unanswered"] == {"NEW": "the target NEW has no row in the embedding P"}
    )


def test_arrays_with_objects_are_refused(tmp_path):
    plugin.save_model("mean", np.zeros(3), tmp_path)
    np.savez(tmp_path / "arrays.npz", mean=np.array([{"code": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        plugin.load_model("mean", tmp_path)
