"""What a prediction shows beside the training data: small matrices, and files as the harness writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pertharness import make_prediction
from pertharness.contract.errors import DataError
from pertharness.data.canonical import write
from pertharness.host.leaderboard.prediction_facts import Means, PredictionFacts, describe_prediction, open_means
from scipy import sparse

GENES = ["g1", "g2", "g3"]
TRAIN = {"control": [1.0, 1.0, 1.0], "A": [2.0, 1.0, 0.0], "B": [1.0, 3.0, 1.0]}
TRUTH = {**TRAIN, "A+B": [2.0, 3.0, 0.0], "C": [1.5, 1.0, 1.0], "same as A": [2.0, 1.0, 0.0]}


def means(rows: dict[str, list[float]]) -> Means:
    return Means(list(rows), np.array([*rows.values()], dtype=np.float64).reshape(len(rows), len(GENES)))


def describe(answers: dict[str, list[float]]) -> PredictionFacts:
    return describe_prediction(means(answers), means(TRAIN), lambda: means(TRUTH))


def test_answers_of_their_own_show_nothing() -> None:
    facts = describe({"A+B": [2.0, 2.9, 0.1], "C": [1.4, 1.0, 1.0]})

    assert facts == PredictionFacts(n_answers=2, n_values=6, n_predicted=6, alike=False, n_copies=0)


def test_equal_answers_are_alike_up_to_the_rounding_of_float32() -> None:
    answer = [1.1, 7.3, 9.1]
    rounded = [float(np.float32(value)) for value in answer]

    assert describe({"A+B": answer, "C": rounded}).alike
    assert not describe({"A+B": answer, "C": [1.1, 7.3, 9.1001]}).alike


def test_one_answer_alone_is_not_alike_to_anything() -> None:
    assert not describe({"C": [1.1, 1.1, 1.1]}).alike


def test_equal_answers_to_queries_that_are_observed_to_be_equal_are_not_told() -> None:
    truth = {**TRUTH, "C": TRUTH["A+B"]}
    facts = describe_prediction(means({"A+B": [2, 3, 0.1], "C": [2, 3, 0.1]}), means(TRAIN), lambda: means(truth))

    assert not facts.alike


def test_answers_that_equal_a_training_row_are_counted_with_an_example() -> None:
    facts = describe({"C": [1.2, 1.0, 1.0], "A+B": TRAIN["B"], "same as A": TRAIN["control"]})

    assert (facts.n_copies, facts.example) == (2, ("A+B", "B"))


def test_an_answer_that_is_as_observed_is_no_copy_of_an_equal_training_row() -> None:
    facts = describe({"same as A": TRAIN["A"], "C": [1.2, 1.0, 1.0]})

    assert facts.n_copies == 0


def test_missing_genes_are_counted_and_the_others_compared() -> None:
    facts = describe({"A+B": [1.0, np.nan, 1.0], "C": [2.0, np.nan, 0.5]})

    assert (facts.n_values, facts.n_predicted, facts.n_copies, facts.example) == (6, 4, 1, ("A+B", "control"))


def test_a_prediction_without_answers_or_without_genes_shows_nothing() -> None:
    nothing = describe_prediction(Means([], np.zeros((0, 3))), means(TRAIN), lambda: pytest.fail("the truth was read"))

    assert nothing == PredictionFacts(n_answers=0, n_values=0, n_predicted=0, alike=False, n_copies=0)
    blank = describe({"A+B": [np.nan] * 3, "C": [np.nan] * 3})
    assert blank == PredictionFacts(n_answers=2, n_values=6, n_predicted=0, alike=False, n_copies=0)


def test_the_truth_is_left_alone_where_nothing_has_to_be_excused() -> None:
    answers = means({"A+B": [2.0, 2.9, 0.1], "C": [1.4, 1.0, 1.0]})

    describe_prediction(answers, means(TRAIN), lambda: pytest.fail("the truth was read"))


def test_every_copy_is_found_among_many_rows() -> None:
    rng = np.random.default_rng(1)
    known = rng.random((300, 50))
    answers = np.concatenate([known[rng.permutation(300)[:40]], rng.random((200, 50))])
    answers += 4e-7 * rng.choice([-1, 1], size=answers.shape)  # as of float32
    truth = Means([f"q{i}" for i in range(240)], rng.random((240, 50)))
    facts = describe_prediction(
        Means(truth.labels, answers), Means([f"t{i}" for i in range(300)], known), lambda: truth
    )

    assert facts.n_copies == 40


def test_files_are_read_as_the_harness_writes_them(tmp_path: Path) -> None:
    prediction = make_prediction({"A+B": np.array([1.0, 3.0, 1.0]), "C": np.array([1.0, 1.0, 2.0])}, GENES)
    train = make_prediction({name: np.array(row) for name, row in TRAIN.items()}, GENES)
    train.obs["perturbation"] = train.obs["perturbation"].astype("category")
    train.X = sparse.csr_matrix(train.X)
    write(prediction, tmp_path / "prediction.h5ad")
    write(train, tmp_path / "train.h5ad")
    with open_means(tmp_path / "prediction.h5ad") as prediction, open_means(tmp_path / "train.h5ad") as training:
        facts = describe_prediction(prediction, training, lambda: means(TRUTH))

    assert facts == PredictionFacts(
        n_answers=2, n_values=6, n_predicted=6, alike=False, n_copies=1, example=("A+B", "B")
    )


@pytest.mark.parametrize("as_categories", [False, True])
def test_a_prediction_without_an_answer_is_read(tmp_path: Path, as_categories: bool) -> None:
    prediction = make_prediction({}, GENES, {"A+B": "unknown"})
    if as_categories:
        prediction.obs["perturbation"] = prediction.obs["perturbation"].astype("category")
    write(prediction, tmp_path / "prediction.h5ad")

    with open_means(tmp_path / "prediction.h5ad") as opened:
        facts = describe_prediction(opened, means(TRAIN), lambda: means(TRUTH))

    assert (facts.n_answers, facts.n_values) == (0, 0)


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prediction.h5ad"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"prediction\.h5ad' cannot be read"), open_means(path):
        pass
