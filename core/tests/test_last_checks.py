"""The last checks of artefacts, made from files: what a worker that checks nothing would let through."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import Claim, Job, PluginRef
from pertharness.contract.labels import CONTROL
from pertharness.contract.predictions import make_prediction
from pertharness.contract.scores import COLUMNS
from pertharness.data.canonical import LOG1P_CEILING, select, write
from pertharness.data.embeddings import write_embedding
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.last_checks import inspect_artefacts
from pertharness.testing import planted_means

QUERIES = ["CEBPE+KLF1", "MYC+TP53"]
METRICS = [{"id": "l2", "variants": ["default", "common-genes"]}]
DONE = Claim(state="done")


def launch_of(stage: str, folder: Path, inputs: dict[str, Path], options: dict[str, object]) -> Launch:
    split = folder / "split.json"
    split.write_text(json.dumps({"train": [], "val": ["A+B"], "test": QUERIES}))
    (folder / "key").mkdir()
    job = Job.model_validate({
        "key": "key", "stage": stage, "plugin": PluginRef(name="p", module="p", version="1"), "name": "model",
        "inputs": {"split": split, **inputs}, "options": {"score_on": ["test"], **options},
    })  # fmt: skip
    return Launch(job=job, folder=folder / "key")


@pytest.fixture
def prediction(tmp_path: Path) -> Launch:
    """Return a job that predicted all as it should."""
    means = planted_means()
    train = select(means, [CONTROL, "KLF1"])
    write(train, tmp_path / "train.h5ad")
    launch = launch_of("predictions", tmp_path, {"train": tmp_path / "train.h5ad"}, {})
    row = np.asarray(train.X)[0].astype(float)
    answer = make_prediction(dict.fromkeys(QUERIES, row), train.var_names)
    write(answer, launch.folder / "prediction.h5ad")
    return launch


def change(launch: Launch, alter: Callable[[h5py.File], object], name: str = "prediction.h5ad") -> None:
    with h5py.File(launch.folder / name, "r+") as file:
        alter(file)


def replace(file: h5py.File, name: str, values: object, **more: object) -> None:
    attributes = dict(file[name].attrs) if name in file else {}
    if name in file:
        del file[name]
    file.create_dataset(name, data=values, **more)
    file[name].attrs.update(attributes)


def put(value: float, row: object = 0, column: object = 0) -> Callable[[h5py.File], None]:
    def alter(file: h5py.File) -> None:
        values = file["X"][:]
        values[row, column] = value
        file["X"][...] = values

    return alter


def refusal(launch: Launch, claim: Claim = DONE) -> str:
    with pytest.raises(ContractError) as caught:
        inspect_artefacts(launch, claim)
    return str(caught.value)


def test_a_prediction_as_it_should_be_passes(prediction: Launch) -> None:
    inspect_artefacts(prediction, DONE)


@pytest.mark.parametrize("value", [1e6, -50.0, np.inf, -np.inf, LOG1P_CEILING * 1.001, -LOG1P_CEILING * 1.001])
def test_a_value_that_cannot_be_is_named_with_its_place(value: float, prediction: Launch) -> None:
    change(prediction, put(value, 1, 2))
    words = refusal(prediction)
    assert "'MYC+TP53'" in words
    assert str(float(value)) in words


@pytest.mark.parametrize("value", [LOG1P_CEILING, -0.3, -LOG1P_CEILING])
def test_a_value_up_to_the_ceiling_or_a_little_below_zero_passes(value: float, prediction: Launch) -> None:
    change(prediction, put(value, 1, 2))
    inspect_artefacts(prediction, DONE)


def test_nan_is_a_gene_in_every_row_or_a_fault(prediction: Launch) -> None:
    change(prediction, put(np.nan, slice(None), 3))
    inspect_artefacts(prediction, DONE)
    change(prediction, put(np.nan, 1, 4))
    assert "nan for the query 'MYC+TP53', gene 4" in refusal(prediction)
    change(prediction, put(1.0, 1, 4))
    change(prediction, put(1.0, 1, 3))  # and the other way round: the first row is NaN, the second is not
    assert "gene 3" in refusal(prediction)


def rename_genes(file: h5py.File) -> None:
    index = file["var"].attrs["_index"]
    names = file["var"][index].asstr()[:]
    replace(file["var"], index, [*names[1:], names[0]])


def drop_genes(file: h5py.File) -> None:
    index = file["var"].attrs["_index"]
    replace(file["var"], index, file["var"][index].asstr()[:-1])
    replace(file, "X", file["X"][:, :-1])


@pytest.mark.parametrize("alter", [rename_genes, drop_genes], ids=["another order", "one missing"])
def test_genes_are_those_of_the_training_data_in_their_order(
    alter: Callable[[h5py.File], object], prediction: Launch
) -> None:
    change(prediction, alter)
    assert "genes are not those of the training data" in refusal(prediction)


def relabel(*labels: str) -> Callable[[h5py.File], None]:
    def alter(file: h5py.File) -> None:
        if "perturbation" in file["obs"]:
            del file["obs"]["perturbation"]
        replace(file["obs"], "perturbation", list(labels))

    return alter


@pytest.mark.parametrize(
    ("labels", "unanswered", "words"),
    [
        (["CEBPE+KLF1", "KLF1"], {"MYC+TP53": "why"}, "'KLF1' was not requested"),
        (["CEBPE+KLF1", "A+B"], {"MYC+TP53": "why"}, "'A+B' was not requested"),
        (["CEBPE+KLF1", "CEBPE+KLF1"], {"MYC+TP53": "why"}, "duplicate query 'CEBPE+KLF1'"),
        (QUERIES, {"MYC+TP53": "why"}, "both answered and unanswered"),
    ],
)
def test_rows_are_queries_each_once(
    labels: list[str], unanswered: dict[str, str], words: str, prediction: Launch
) -> None:
    change(prediction, relabel(*labels))
    assert words in refusal(prediction, Claim(state="done", unanswered=unanswered))


def test_a_query_without_an_answer_has_a_reason(prediction: Launch) -> None:
    def first_alone(file: h5py.File) -> None:
        relabel("CEBPE+KLF1")(file)
        replace(file, "X", file["X"][:1])

    change(prediction, first_alone)
    assert "'MYC+TP53' is neither answered" in refusal(prediction)
    inspect_artefacts(prediction, Claim(state="done", unanswered={"MYC+TP53": "unknown gene"}))


def test_no_answer_at_all_is_an_answer(prediction: Launch) -> None:
    def nothing(file: h5py.File) -> None:
        del file["obs"]["perturbation"]
        file["obs"].create_dataset("perturbation", shape=(0,), dtype=h5py.string_dtype())
        replace(file, "X", np.zeros((0, file["X"].shape[1])))

    change(prediction, nothing)
    inspect_artefacts(prediction, Claim(state="done", unanswered=dict.fromkeys(QUERIES, "none is known")))


@pytest.mark.parametrize("shape", [(2,), (2, 39), (3, 40), (2, 40, 1)])
def test_a_shape_that_is_not_that_of_queries_and_genes_is_refused(shape: tuple[int, ...], prediction: Launch) -> None:
    change(prediction, lambda file: replace(file, "X", np.zeros(shape)))
    assert f"X has the shape {shape}" in refusal(prediction)


def external_values(file: h5py.File) -> None:
    path = Path(file.filename).with_name("values.bin")
    path.write_bytes(np.zeros(file["X"].shape).tobytes())
    replace(file, "X", None, shape=file["X"].shape, dtype="f8", external=[(str(path), 0, h5py.h5f.UNLIMITED)])


def virtual_values(file: h5py.File) -> None:
    shape, truth = file["X"].shape, Path(file.filename).with_name("truth.h5")
    with h5py.File(truth, "w") as other:
        other.create_dataset("X", data=np.zeros(shape))
    layout = h5py.VirtualLayout(shape, dtype="f8")
    layout[:] = h5py.VirtualSource(str(truth), "X", shape=shape)
    del file["X"]
    file.create_virtual_dataset("X", layout)


def link_elsewhere(file: h5py.File) -> None:
    del file["X"]
    file["X"] = h5py.ExternalLink("truth.h5", "/X")


def link_within(file: h5py.File) -> None:
    file["Y"] = h5py.SoftLink("/X")


@pytest.mark.parametrize("alter", [external_values, virtual_values, link_elsewhere, link_within])
def test_all_of_a_file_lies_in_it(alter: Callable[[h5py.File], object], prediction: Launch) -> None:
    change(prediction, alter)
    words = refusal(prediction)
    assert "are in another file" in words or "is a link" in words


def test_a_link_within_a_group_is_seen(prediction: Launch) -> None:
    def hide(file: h5py.File) -> None:
        del file["obs"]["perturbation"]
        file["obs"]["perturbation"] = h5py.ExternalLink("truth.h5", "/labels")

    change(prediction, hide)
    assert "is a link" in refusal(prediction)


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_file_that_cannot_be_read_is_the_models_fault(content: bytes, prediction: Launch) -> None:
    (prediction.folder / "prediction.h5ad").write_bytes(content)
    assert "cannot be read" in refusal(prediction)


@pytest.mark.parametrize("missing", ["X", "obs", "var", "obs/perturbation"])
def test_a_file_that_lacks_a_part_is_refused_in_words(missing: str, prediction: Launch) -> None:
    def alter(file: h5py.File) -> None:
        del file[missing]

    change(prediction, alter)
    assert "prediction.h5ad" in refusal(prediction)


@pytest.mark.parametrize(
    "values", [np.full((2, 40), "x", dtype="S1"), np.zeros((2, 40), dtype=complex), np.zeros((2, 40), dtype=bool)]
)
def test_values_that_are_no_numbers_are_refused_in_words(values: np.ndarray, prediction: Launch) -> None:
    change(prediction, lambda file: replace(file, "X", values))
    assert "X" in refusal(prediction)


def test_a_huge_matrix_that_is_not_there_costs_nothing(prediction: Launch) -> None:
    """A dataset of 29 TiB that takes no room in the file."""
    shape = (2_000_000, 2_000_000)
    change(prediction, lambda file: replace(file, "X", None, shape=shape, dtype="f8", chunks=(1, 1000)))
    assert "'/X' declares 2000000 x 2000000 values (29.1 TiB)" in refusal(prediction)
    change(prediction, lambda file: replace(file, "X", None, shape=(3, 40), dtype="f8"))
    assert "X has the shape (3, 40)" in refusal(prediction)


@pytest.mark.timeout(300)
def test_groups_that_contain_each_other_come_to_an_end(prediction: Launch) -> None:
    """40 names of one group in itself: followed to any depth, they are 100 million groups in the fifth level alone."""

    def nest(file: h5py.File) -> None:
        for number in range(40):
            file["obs"][f"again{number}"] = file["obs"]

    change(prediction, nest)
    inspect_artefacts(prediction, DONE)
    change(prediction, put(1e6, 1, 2))
    assert "1000000.0" in refusal(prediction)


def test_reasons_are_for_queries_that_were_asked(prediction: Launch) -> None:
    assert "'KLF1' was not requested" in refusal(prediction, Claim(state="done", unanswered={"KLF1": "why"}))


# --- embeddings


LABELS = ["A", "B", "MYC"]
"""Targets of the split."""


@pytest.fixture
def embedding(tmp_path: Path) -> Launch:
    launch = launch_of("embeddings", tmp_path, {}, {"kind": "perturbation"})
    write_embedding(pd.DataFrame(np.eye(3), index=LABELS), launch.folder / "embedding.h5ad")
    return launch


EMBEDDINGS = pytest.mark.parametrize("values", [np.eye(3), np.full((3, 2), 0.5)], ids=["sparse", "dense"])


@EMBEDDINGS
def test_an_embedding_as_it_should_be_passes(values: np.ndarray, embedding: Launch) -> None:
    for labels in (LABELS, ["control", "MYC", "TP53"]):
        write_embedding(pd.DataFrame(values, index=labels), embedding.folder / "embedding.h5ad")
        inspect_artefacts(embedding, DONE)
    write_embedding(pd.DataFrame(values[:0], index=[]), embedding.folder / "embedding.h5ad")
    inspect_artefacts(embedding, DONE)


def test_genes_of_the_training_data_are_labels_where_genes_are_embedded(prediction: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    folder.mkdir()
    launch = launch_of("embeddings", folder, {"train": prediction.job.inputs["train"]}, {"kind": "gene"})
    genes = list(planted_means().var_names)
    write_embedding(pd.DataFrame(np.ones((2, 3)), index=genes[:2]), launch.folder / "embedding.h5ad")
    inspect_artefacts(launch, DONE)
    write_embedding(pd.DataFrame(np.ones((2, 3)), index=[genes[0], "A"]), launch.folder / "embedding.h5ad")
    assert "'A' was not requested" in refusal(launch)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@EMBEDDINGS
def test_an_embedding_holds_numbers(values: np.ndarray, value: float, embedding: Launch) -> None:
    write_embedding(pd.DataFrame(values, index=LABELS), embedding.folder / "embedding.h5ad")

    def alter(file: h5py.File) -> None:
        values = file["X"]["data"] if isinstance(file["X"], h5py.Group) else file["X"]
        values[-1] = value

    change(embedding, alter, "embedding.h5ad")
    assert "not finite" in refusal(embedding)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["A", "B", "A"], "duplicate label 'A'"), (["A", "B", "A+B"], "'A+B' was not requested"),
        (["A", "B"], "3 rows, and there are 2 labels"),
        (["A", "B", "MYC", "TP53"], "3 rows, and there are 4 labels"),
        (list("ABCDEFGHIJ"), "at most 7 texts"),
    ],
)  # fmt: skip
@EMBEDDINGS
def test_labels_are_those_that_were_asked_for_once(
    values: np.ndarray, labels: list[str], words: str, embedding: Launch
) -> None:
    write_embedding(pd.DataFrame(values, index=LABELS), embedding.folder / "embedding.h5ad")
    change(embedding, lambda file: replace(file["obs"], file["obs"].attrs["_index"], labels), "embedding.h5ad")
    assert words in refusal(embedding)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1 << 45, 4), "declares 35184372088832 x 4"),
        ((3, 1 << 45), "declares 3 x 35184372088832"),
        ((1 << 20, 4), "X has the shape (1048576, 4), expected at most 7 rows"),
        ((3, 1 << 20), "and 200000 columns"),
        ((12,), "X has the shape (12,)"), ((), "X has the shape ()"),
    ],
)  # fmt: skip
def test_a_shape_that_cannot_be_is_refused_before_a_value_is_read(
    shape: tuple[int, ...], words: str, embedding: Launch
) -> None:
    """Zeros that were never written take no room in the file, and ever so long to read."""
    more = {"chunks": tuple(min(side, 1024) for side in shape)} if shape else {}
    change(embedding, lambda file: replace(file, "X", None, shape=shape, dtype="f8", **more), "embedding.h5ad")
    assert words in refusal(embedding)


def sparse_part(name: str, values: object) -> Callable[[h5py.File], None]:
    return lambda file: replace(file["X"], name, values)


def reshape(*shape: int) -> Callable[[h5py.File], None]:
    return lambda file: file["X"].attrs.modify("shape", np.array(shape))


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (reshape(1 << 45, 3), "X has the shape (35184372088832, 3)"),
        (reshape(7, 3), "X has 7 rows, and there are 3 labels"),
        (reshape(3, 2), "values outside its 2 columns"),
        (sparse_part("indices", [0, 1, -1]), "values outside its"),
        (sparse_part("indices", [0.0, 1.0, 2.0]), "values outside its"),
        (sparse_part("indices", [0, 1]), "do not match"), (sparse_part("indptr", [0, 1, 3]), "do not match"),
        (sparse_part("indptr", [0, 1, 2, 4]), "grow from 0"), (sparse_part("indptr", [1, 1, 2, 3]), "grow from 0"),
        (sparse_part("indptr", [0, 2, 1, 3]), "grow from 0"),
        (sparse_part("data", np.ones(10)), "with (10,) values"),
        (sparse_part("data", np.ones((3, 1))), "with (3, 1) values"),
        (sparse_part("data", np.array([b"a", b"b", b"c"])), "values of the type |S1"),
    ],
)  # fmt: skip
def test_a_sparse_embedding_is_a_matrix_of_its_shape(
    alter: Callable[[h5py.File], object], words: str, embedding: Launch
) -> None:
    """What reads it puts a value where its index says, in the matrix or not."""
    change(embedding, alter, "embedding.h5ad")
    assert words in refusal(embedding)


@pytest.mark.parametrize("stage", ["cards", "embeddings", "scores", "datasets"])
def test_only_a_prediction_leaves_queries_without_an_answer(stage: str, embedding: Launch) -> None:
    launch = embedding.model_copy(update={"job": embedding.job.model_copy(update={"stage": stage})})
    assert "unanswered queries are named" in refusal(launch, Claim(state="done", unanswered={"A": "why"}))


# --- datasets


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"n_obs": "many", "n_genes": 3}', "[" * 100_000])
def test_facts_of_a_dataset_are_an_object_with_its_size(content: str, tmp_path: Path) -> None:
    launch = launch_of("datasets", tmp_path, {}, {})
    facts = launch.folder / "facts.json"
    facts.write_text('{"n_obs": 5, "n_genes": 3, "level": "cells"}')
    inspect_artefacts(launch, DONE)
    facts.write_text(content)
    assert "facts.json: " in refusal(launch)


# --- scores


@pytest.fixture
def scores(prediction: Launch, tmp_path: Path) -> Launch:
    folder = tmp_path / "scored"
    folder.mkdir()
    inputs = {"prediction": prediction.folder / "prediction.h5ad"}
    launch = launch_of("scores", folder, inputs, {"offer": {"metrics": METRICS}})
    tabulate(launch, *([query, "", "l2", "default", "", "1.5"] for query in QUERIES))
    return launch


def tabulate(launch: Launch, *rows: list[str], columns: tuple[str, ...] = COLUMNS) -> None:
    with (launch.folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def test_scores_as_they_should_be_pass(scores: Launch) -> None:
    inspect_artefacts(scores, DONE)
    tabulate(scores, ["CEBPE+KLF1", "KLF1", "l2", "common-genes", "3", ""], ["", "", "l2", "default", "", "-2e-3"])
    inspect_artefacts(scores, DONE)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["CEBPE+KLF1", "", "l2", "default", "", "inf"], "inf"),
        (["CEBPE+KLF1", "", "l2", "default", "", "-Infinity"], "Infinity"),
        (["CEBPE+KLF1", "", "l3", "default", "", "1"], "'l3'"),
        (["CEBPE+KLF1", "", "l2", "other", "", "1"], "'other'"),
        (["KLF1", "", "l2", "default", "", "1"], "'KLF1'"),
        (["MYC+TP53", "", "l2", "default", "", "1.5"], "two values"),
        (["MYC+TP53", "l2"], "2 columns"),
        (["CEBPE+KLF1", "", "l2", "default", "", "a lot"], "'a lot'"),
    ],
)
def test_a_score_that_cannot_be_is_refused(row: list[str], words: str, scores: Launch) -> None:
    tabulate(scores, ["MYC+TP53", "", "l2", "default", "", "1.5"], row)
    assert words in refusal(scores)


def test_a_score_of_a_query_without_an_answer_is_none(scores: Launch) -> None:
    change(Launch(job=scores.job, folder=scores.job.inputs["prediction"].parent), relabel("CEBPE+KLF1"))
    assert "'MYC+TP53'; expected a finite number, or NaN" in refusal(scores)
    tabulate(scores, ["MYC+TP53", "", "l2", "default", "", ""])
    inspect_artefacts(scores, DONE)


def test_columns_are_those_of_scores(scores: Launch) -> None:
    tabulate(scores, columns=(*COLUMNS[:-1], "worth"))
    assert "its columns are not" in refusal(scores)
    (scores.folder / "scores.csv").write_bytes(b"")
    assert "its columns are not" in refusal(scores)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", ",".join(COLUMNS).encode() + b"\n" + b"x" * 200_000])
def test_a_table_that_is_none_is_refused_in_words(content: bytes, scores: Launch) -> None:
    (scores.folder / "scores.csv").write_bytes(content)
    assert "scores.csv" in refusal(scores)
