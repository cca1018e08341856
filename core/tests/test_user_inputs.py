"""What a user gives a check by name, and what is made of an exception of the plugin."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.cards import Card, DatasetOffer, EmbeddingOffer, ModelOffer, RemoteFile
from pertharness.contract.errors import ContractError, RecipeError, Skip
from pertharness.contract.jobs import Job, PluginRef
from pertharness.data.embeddings import write_embedding
from pertharness.testing import conformance, planted_cells
from pertharness.testing.checks import run_check, run_check_job
from pertharness.testing.model_trial import read_slot
from pertharness.testing.planted import GENES
from pertharness.testing.subject import Subject, make_extras
from pertharness.testing.user_inputs import Allotted, UserInputs, allot

DEMANDING = Path(__file__).parents[2] / "tests" / "demanding"
REF = PluginRef(name="demanding", module="demanding", version="0")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the plugin and the files that it asks for."""
    for path in DEMANDING.glob("*.py"):
        shutil.copyfile(path, tmp_path / path.name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    table = pd.DataFrame(0.25, index=list(GENES), columns=["x", "y"])
    table.to_csv(tmp_path / "genes.csv")
    write_embedding(table, tmp_path / "genes.h5ad")
    (tmp_path / "terms").write_text("terms")
    planted_cells().write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path


USUAL = {"summary": "s", "tasks": ("single",), "input": "pseudobulk", "information": "training"}
CARD = Card(
    datasets=(DatasetOffer(name="a", summary="s", takes_file=True, params={"k": 1}),),
    embeddings=(EmbeddingOffer(name="b", summary="s", kinds=("gene",), params={"j": 1}),),
    models=(
        ModelOffer(
            name="b", params={"j": 1, "k": 1, "words": ""}, file_params=("words",), slots={"G": "gene"}, **USUAL
        ),
        ModelOffer(name="c", weights=(RemoteFile(url="u", filename="w"),), slots={"G": "gene"}, **USUAL),
    ),
)


def test_a_name_goes_to_the_offer_that_has_it(tmp_path):
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file"
    inputs = UserInputs({"j": 2, "b.k": 3, "words": path}, {"c.G": path}, {"w": path, "a": path})
    got = allot(CARD, inputs)
    assert got == {
        ("datasets", "a"): Allotted(source=path), ("embeddings", "b"): Allotted({"j": 2}),
        ("models", "b"): Allotted({"j": 2, "k": 3, "words": str(path)}),
        ("models", "c"): Allotted(slots={"G": path}, files={"w": path}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (UserInputs({"k": 2}), "--param k: several offers have it; expected one of a.k, b.k"),
        (UserInputs({}, {"G": "f"}), "--slot G: several offers have it; expected one of b.G, c.G"),
        (UserInputs({"depth": 2}), "--param depth: no offer has it; expected one of a.k, b.j, b.k, b.words"),
        (UserInputs({"c.k": 2}), "--param c.k: no offer has it"),
        (UserInputs({"words": "none.txt"}), "--param words: 'none.txt' does not exist"),
        (UserInputs({}, {"P": "f"}), "--slot P: no offer has it; expected one of b.G, c.G"),
        (UserInputs({}, {}, {"b": "f"}), "--file b: no offer declares, or is made of, a file.*expected one of a, w"),
        (UserInputs({}, {}, {"a": "."}), r"--file a: '\.' is a folder; expected a file"),
    ],
)
def test_a_name_that_fits_no_offer_or_several_is_refused(inputs, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("f").write_text("x")
    files = [{name: Path(path) for name, path in given.items()} for given in (inputs.slots, inputs.files)]
    with pytest.raises(RecipeError, match=words):
        allot(CARD, UserInputs(inputs.params, *files))


def test_a_job_of_a_check_puts_an_exception_of_the_plugin_into_words(folder):
    job = Job(key="x", stage="checks", plugin=REF, name="m-single-answers", inputs={"weights/terms.csv": "terms"})
    with pytest.raises(ContractError, match=r"^ValueError: 'nothing' is not in list\n  File .*demanding\.py"):
        run_check_job(job, folder, [])
    with pytest.raises(Skip, match="needs the file"):
        run_check_job(job.model_copy(update={"inputs": {}}), folder, [])


def test_a_dataset_that_changes_its_source_is_found(folder):
    text = (DEMANDING / "demanding.py").read_text()
    careless = "    source.write_bytes(source.read_bytes() + b' ')\n    return canonical.read(source)"
    (folder / "careless.py").write_text(text.replace("    return canonical.read(source)", careless))
    importlib.invalidate_caches()
    ref = PluginRef(name="careless", module="careless", version="0")
    run_check("d-inputs_unchanged", REF, source=folder / "screen.h5ad")
    with pytest.raises(ContractError, match="the source file changed"):
        run_check("d-inputs_unchanged", ref, source=folder / "screen.h5ad")


def test_the_tests_of_a_plugin_name_what_the_command_line_names(folder, tmp_path, monkeypatch):
    test = conformance(
        "demanding", params={"k": 7}, slots={"G": folder / "genes.csv"}, files={"terms.csv": folder / "terms"}
    )
    [case] = [case for case in test.pytestmark[0].args[1] if case.id == "m-single-scale"]
    test(case.values[0], tmp_path, monkeypatch)
    with pytest.raises(RecipeError, match="no offer has it"):
        conformance("demanding", params={"depth": 7})


def test_a_slot_is_read_from_a_table_or_an_h5ad(folder):
    for name in ("genes.csv", "genes.h5ad"):
        table = read_slot(folder / name)
        assert list(table.index) == list(GENES)
        assert np.array_equal(table.to_numpy(), np.full((len(GENES), 2), 0.25))
    with pytest.raises(ContractError, match=r"expected \.h5ad, \.csv or \.tsv"):
        read_slot(folder / "terms")


def test_weights_that_a_parameter_replaces_are_neither_needed_nor_given(tmp_path):
    file = tmp_path / "w"
    file.write_text("x")
    offer = ModelOffer(
        name="c", weights=(RemoteFile(url="u", filename="w"),), params={"own": ""}, file_params=("own",),
        replaces_weights={"own": ("w",)}, **USUAL,
    )  # fmt: skip
    replaced = offer.model_copy(update={"params": {"own": str(file)}})
    without, with_file = Subject(REF), Subject(REF, make_extras(files={"w": file}))
    with pytest.raises(Skip, match="needs the file 'w'"):
        without.files_of(offer)
    assert with_file.files_of(offer) == {"w": file}
    assert without.files_of(replaced) == with_file.files_of(replaced) == {}
