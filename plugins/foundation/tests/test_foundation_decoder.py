"""Expression from embeddings of conditions, and the controls beside it."""

from __future__ import annotations

import numpy as np
import pytest
from pertharness import CONTROL, DataError, Skip, read_settings, settings_of
from pertharness.testing.planted import planted_cells, planted_means
from pertharness_foundation.decoder import Conditions, Decoding, decode, stand_in
from pertharness_foundation.ridge import fit_ridge
from pydantic import BaseModel

LABELS = (CONTROL, "A", "B", "C", "D")
QUERIES = ["C", "D"]


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return {label: rng.normal(size=6) * size for label, size in zip(LABELS, (1, 2, 3, 4, 5), strict=True)}


@pytest.fixture
def conditions(vectors):
    means = np.random.default_rng(1).random((3, 7))
    return Conditions(("A", "B", CONTROL), means, {label: vectors[label] for label in ("A", "B", CONTROL)})


def asked(vectors):
    return {query: vectors[query] for query in QUERIES}


def test_the_decoder_is_the_ridge_regression_on_training_conditions(conditions, vectors):
    decoded = decode(conditions, asked(vectors), QUERIES, Decoding(ridge=0.3), seed=1)
    ridge = fit_ridge(np.array([vectors[label] for label in conditions.labels]), conditions.means, 0.3)
    assert list(decoded.means) == QUERIES
    for query in QUERIES:
        np.testing.assert_allclose(decoded.means[query], ridge.predict(vectors[query][None])[0], atol=1e-12)
    assert decoded.notes == ("decoder: fitted on 3 of 3 training conditions",)


def test_conditions_are_means_over_cells_in_an_order_of_their_own():
    cells, means = planted_cells(), planted_means()
    conditions = Conditions.of(cells[::-1].copy(), {})
    assert list(conditions.labels) == sorted(map(str, means.obs_names))
    assert conditions.means.dtype == np.float64
    np.testing.assert_allclose(conditions.means, means[list(conditions.labels)].X, atol=1e-12)


def test_what_has_no_embedding_is_left_out_and_counted(conditions, vectors):
    fewer = Conditions(conditions.labels, conditions.means, {label: vectors[label] for label in ("B", CONTROL)})
    decoded = decode(fewer, {"D": vectors["D"]}, QUERIES, Decoding(), seed=1)
    ridge = fit_ridge(np.array([vectors["B"], vectors[CONTROL]]), conditions.means[1:])
    assert list(decoded.means) == ["D"]
    np.testing.assert_allclose(decoded.means["D"], ridge.predict(vectors["D"][None])[0], atol=1e-12)
    assert decoded.notes == (
        "decoder: fitted on 2 of 3 training conditions; the model has no embedding of 1, such as 'A'",
        "decoder: 1 of 2 queries have no embedding, and are not answered",
    )
    assert decode(fewer, {}, QUERIES, Decoding(), seed=1).means == {}
    alone = Conditions(conditions.labels, conditions.means, {CONTROL: vectors[CONTROL]})
    with pytest.raises(Skip, match="1 of the 3 training conditions; the decoder needs at least two"):
        decode(alone, {}, QUERIES, Decoding(), seed=1)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(5), r"of 'C' has the shape \(5,\), that of 'A' \(6,\)"),
        (np.ones((1, 6)), r"of 'C' has the shape \(1, 6\)"),
        (np.array([1.0, 2, 3, 4, 5, np.nan]), "of 'C' has an entry that is no number"),
    ],
)
def test_an_embedding_that_cannot_be_decoded_is_named(conditions, vectors, vector, message):
    with pytest.raises(DataError, match=message):
        decode(conditions, asked(vectors) | {"C": vector}, QUERIES, Decoding(), seed=1)


def test_random_numbers_have_the_norms_of_the_embedding_and_depend_on_the_seed_and_the_label_alone(vectors):
    drawn = stand_in(vectors, "random", 1)
    for label, vector in vectors.items():
        assert np.linalg.norm(drawn[label]) == pytest.approx(np.linalg.norm(vector))
        assert abs(drawn[label] @ vector) < 0.95 * np.linalg.norm(vector) ** 2
        np.testing.assert_array_equal(stand_in({label: vector}, "random", 1)[label], drawn[label])
    assert not np.allclose(stand_in(vectors, "random", 2)["A"], drawn["A"])
    directions = {label: vector / np.linalg.norm(vector) for label, vector in drawn.items()}
    assert abs(directions["A"] @ directions["B"]) < 0.95
    assert not stand_in({"A": np.zeros(6)}, "random", 1)["A"].any()


def test_permuted_embeddings_are_those_of_other_perturbations_and_the_control_keeps_its_own(vectors):
    permuted = [stand_in(dict(sorted(vectors.items(), reverse=order)), "permuted", 3) for order in (False, True)]
    for label in LABELS:
        np.testing.assert_array_equal(permuted[0][label], permuted[1][label])
    np.testing.assert_array_equal(permuted[0][CONTROL], vectors[CONTROL])
    moved = {label for label in LABELS if not np.array_equal(permuted[0][label], vectors[label])}
    assert moved
    firsts = sorted(vector[0] for vector in permuted[0].values())
    assert firsts == sorted(vector[0] for vector in vectors.values())
    others = [stand_in(vectors, "permuted", seed)["A"][0] for seed in range(20)]
    assert set(others) == {vectors[label][0] for label in LABELS if label != CONTROL}


@pytest.mark.parametrize("kind", ["random", "permuted"])
def test_a_control_is_decoded_in_the_place_of_the_embedding_and_noted(conditions, vectors, kind):
    own, control = (
        decode(conditions, asked(vectors), QUERIES, Decoding(embedding=name), 3) for name in ("model", kind)
    )
    assert not np.allclose(own.means["C"], control.means["C"])
    again = decode(conditions, asked(vectors), QUERIES[::-1], Decoding(embedding=kind), 3)
    np.testing.assert_array_equal(control.means["C"], again.means["C"])
    assert control.notes[-1].endswith("as a control")


def test_conditions_are_saved_and_read_again(tmp_path, conditions, vectors):
    pytest.importorskip("torch", reason="torch is not installed: the plugins have their own environments")
    from pertharness_foundation.saved import load_weights, save_weights

    fewer = Conditions(conditions.labels, conditions.means, {label: vectors[label] for label in ("B", CONTROL)})
    for written in (fewer, Conditions(conditions.labels, conditions.means, {})):
        save_weights(tmp_path, written.tensors(), {"conditions": written.facts()})
        tensors, facts = load_weights(tmp_path)
        read = Conditions.of_saved(tensors, facts["conditions"])
        assert read.labels == written.labels
        np.testing.assert_array_equal(read.means, written.means)
        assert set(read.embeddings) == set(written.embeddings)
        for label, vector in read.embeddings.items():
            np.testing.assert_array_equal(vector, vectors[label])


def test_its_parameters_are_a_group_of_a_models_settings():
    class Settings(BaseModel):
        decoding: Decoding = Decoding()

    params = settings_of(Settings)
    assert params["params"] == {"embedding": "model", "ridge": 1.0}
    assert all(params["params_help"][name]["help"] for name in params["params"])
    with pytest.raises(DataError, match=r"embedding is 'other': .*'model', 'random' or 'permuted'"):
        read_settings(Settings, {"embedding": "other"}, what="mine")
