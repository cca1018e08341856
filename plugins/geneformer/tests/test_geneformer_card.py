"""The card, the parameters, and the files of the environment: no torch needed."""

import re
from dataclasses import asdict
from pathlib import Path

import pertharness_geneformer as plugin
import pytest
from packaging.requirements import Requirement
from pertharness import DataError, Skip, read_settings
from pertharness.contract.jobs import PluginRef
from pertharness.testing.checks import card_checks, run_check
from pertharness_geneformer.settings import PROCEDURES, Settings
from pertharness_geneformer.weights import DECLARED, find_files

PACKAGE = Path(plugin.__file__).parent
README = (PACKAGE.parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("check", card_checks(), ids=lambda check: check.id)
def test_the_card_keeps_its_promises(check):
    try:
        run_check(check.id, PluginRef(name="geneformer", module="pertharness_geneformer", version="0"))
    except Skip as skip:  # where the plugin is on the path, but not installed
        pytest.skip(str(skip))


def test_published_settings_are_the_defaults():
    # The Geneformer script of doi 10.1038/s41592-025-02772-6, and version 0.1.0 of the package.
    published = {
        "epochs": 10, "batch_size": 12, "lr": 5e-5, "weight_decay": 1e-3, "frozen_layers": 2, "cells_per_class": 300,
        "perturbation": "auto", "pool_size": 150, "layer": "last", "pooling": "cls", "forward_batch_size": 100,
        "precision": "float32", "ridge": 1.0, "embedding": "model", "procedure": "paper",
    }  # fmt: skip
    assert published.items() <= plugin.MODEL.params.items()
    assert read_settings(Settings, plugin.MODEL.params, what="geneformer") == Settings()
    assert plugin.MODEL.oracle is None
    assert plugin.MODEL.information == "prior knowledge"


def test_each_quirk_is_a_parameter_that_overrides_the_procedure():
    paper, corrected = (asdict(PROCEDURES[name]) for name in ("paper", "corrected"))
    assert all(paper[name] != corrected[name] for name in paper)
    for name, value in corrected.items():
        params = {**plugin.MODEL.params, name: value}
        assert asdict(read_settings(Settings, params, what="geneformer").choices()) == {**paper, name: value}
    settings = read_settings(Settings, {"procedure": "corrected", "absent_target": "no_op"}, what="geneformer")
    assert asdict(settings.choices()) == {**corrected, "absent_target": "no_op"}
    assert all(plugin.MODEL.params_help[name].help for name in plugin.MODEL.params)


def test_all_quirks_and_parameters_stand_in_the_readme():
    rows = {line.split("|")[1].strip(): line for line in README.splitlines() if line.startswith("| `")}
    paper, corrected = (asdict(PROCEDURES[name]) for name in ("paper", "corrected"))
    for name in paper:
        _, _, first, second, _ = rows[f"`{name}`"].split("|")
        assert f"`{paper[name]}`" in first
        assert f"`{corrected[name]}`" in second
    named = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in rows.values())))
    assert set(plugin.MODEL.params) <= named


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epoch": 3}, "there is no parameter 'epoch'"),
        ({"epochs": 0}, r"epochs is 0: .* greater than or equal to 1"),
        ({"absent_target": "ignore"}, "absent_target is 'ignore': .*'paper', 'skip_cell' or 'no_op'"),
        ({"perturbation": "knockout"}, "perturbation is 'knockout': .*'auto', 'delete' or 'overexpress'"),
        ({"procedure": "mine"}, "procedure is 'mine': .*'paper' or 'corrected'"),
        ({"embedding": "noise"}, "embedding is 'noise': .*'model', 'random' or 'permuted'"),
    ],
)
def test_a_wrong_parameter_is_named(params, message):
    with pytest.raises(DataError, match=message):
        read_settings(Settings, params, what="geneformer")


def test_the_published_files_are_those_of_the_model_of_twelve_layers():
    sizes = {file.wanted: round(file.size_mb * 1e6) for file in DECLARED}
    assert sizes == {
        "model.safetensors": 152_012_980, "config.json": 591, "token_dictionary_gc95M.pkl": 425_590,
        "gene_median_dictionary_gc95M.pkl": 1_512_661, "ensembl_mapping_dict_gc95M.pkl": 3_957_652,
    }  # fmt: skip
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) and file.licence == "Apache-2.0" for file in DECLARED)
    assert plugin.EMBEDDING.weights == tuple(file for file in DECLARED if "median" not in file.wanted)
    assert plugin.MODEL.replaces_weights.items() >= plugin.EMBEDDING.replaces_weights.items()
    assert set(plugin.MODEL.replaces_weights) == set(plugin.MODEL.file_params)


def test_a_named_file_comes_before_that_of_the_card(tmp_path):
    own = tmp_path / "own.json"
    own.write_text("{}")
    there = {file.wanted: tmp_path / file.wanted for file in DECLARED}
    settings = read_settings(Settings, {"config": str(own)}, what="geneformer")
    files = find_files(there, settings.files)
    assert (files.config, files.tokens) == (own, tmp_path / "token_dictionary_gc95M.pkl")
    assert files.is_own
    assert not find_files(there, Settings().files).is_own
    for text, message in ((str(tmp_path / "no.json"), "is not a file"), ("own.json", "is not an absolute path")):
        settings = read_settings(Settings, {"config": text}, what="geneformer")
        with pytest.raises(DataError, match=f"config='.*' {message}"):
            find_files(there, settings.files)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_the_lock_is_exact_and_says_not_where_from(name):
    lines = (PACKAGE / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all([part.operator for part in pin.specifier] == ["=="] and not pin.url for pin in pins)
    names = [pin.name for pin in pins]
    assert len(set(names)) == len(names)
    assert {"torch", "transformers", "tokenizers", "safetensors", "anndata", "pydantic", "pluggy", "psutil"} <= set(
        names
    )
    assert not {"pertharness", "pertharness-geneformer", "datasets", "accelerate"} & set(names)
    assert {"torch==2.13.0", "transformers==5.23.0"} <= set(lines)
