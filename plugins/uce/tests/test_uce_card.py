"""The card, the parameters, and the files of the environment: no torch needed."""

from dataclasses import asdict
from pathlib import Path

import pertharness_uce as plugin
import pytest
from packaging.requirements import Requirement
from pertharness import DataError, Skip, read_settings
from pertharness.contract.jobs import PluginRef
from pertharness.testing.checks import card_checks, run_check
from pertharness_uce.settings import PROCEDURES, FileNames, Settings
from pertharness_uce.weights import declared, find_files

PACKAGE = Path(plugin.__file__).parent


@pytest.mark.parametrize("check", card_checks(), ids=lambda check: check.id)
def test_the_card_keeps_its_promises(check):
    try:
        run_check(check.id, PluginRef(name="uce", module="pertharness_uce", version="0"))
    except Skip as skip:  # where the plugin is on the path, but not installed
        pytest.skip(str(skip))


@pytest.mark.parametrize("offer", [plugin.MODEL, plugin.LARGE_MODEL], ids=lambda offer: offer.name)
def test_published_settings_are_the_defaults(offer):
    # The UCE script of doi 10.1038/s41592-025-02772-6, and the defaults of the published code that it runs.
    published = {
        "pool_size": 100, "sample_size": 1024, "batch_size": 100, "min_cells": 10, "min_genes": 25, "ridge": 1.0,
        "embedding": "model", "procedure": "paper",
    }  # fmt: skip
    assert published.items() <= offer.params.items()
    assert read_settings(Settings, offer.params, what=offer.name) == Settings()
    assert all(offer.params_help[name].help for name in offer.params)


def test_both_models_say_that_they_see_observed_values():
    assert {offer.name for offer in plugin.describe().models} == {"uce", "uce_33l"}
    for offer in plugin.describe().models:
        assert (offer.oracle, offer.information) == ("target_expression", "oracle")
    assert plugin.EMBEDDING.deterministic


def test_each_quirk_is_a_parameter_that_overrides_the_procedure():
    paper, corrected = (asdict(PROCEDURES[name]) for name in ("paper", "corrected"))
    assert all(paper[name] != corrected[name] for name in paper)
    for name, value in corrected.items():
        params = {**plugin.MODEL.params, name: value}
        assert asdict(read_settings(Settings, params, what="uce").choices()) == {**paper, name: value}
    settings = read_settings(Settings, {"procedure": "corrected", "mask_mode": "upstream"}, what="uce")
    assert asdict(settings.choices()) == {**corrected, "mask_mode": "upstream"}


def test_all_quirks_and_parameters_stand_in_the_readme():
    text = (PACKAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    paper, corrected = (asdict(PROCEDURES[name]) for name in ("paper", "corrected"))
    for name in paper:
        _, _, first, second, _ = rows[f"`{name}`"].split("|")
        assert f"`{paper[name]}`" in first
        assert f"`{corrected[name]}`" in second
    for name in plugin.MODEL.params:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pool": 3}, "there is no parameter 'pool'"),
        ({"pool_size": 0}, r"pool_size is 0: .* greater than or equal to 1"),
        ({"mask_mode": "none"}, r"mask_mode is 'none': .*'upstream' or 'masked'"),
        ({"procedure": "mine"}, r"procedure is 'mine': .*'paper' or 'corrected'"),
        ({"embedding": "mine"}, r"embedding is 'mine': .*'model', 'random' or 'permuted'"),
    ],
)
def test_a_wrong_parameter_is_named(params, message):
    with pytest.raises(DataError, match=message):
        read_settings(Settings, params, what="uce")


def test_the_card_declares_where_each_file_comes_from():
    for name in ("uce", "uce_33l"):
        files = declared(name)
        assert len({file.wanted for file in files}) == 4
        assert all(file.url.startswith("https://figshare.com/ndownloader/files/") for file in files)
    assert plugin.MODEL.replaces_weights == {
        "checkpoint": ("4layer_model.torch",),
        "symbols": ("Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt",),
        "chromosomes": ("species_chrom.csv",), "offsets": ("species_offsets.pkl",),
    }  # fmt: skip
    assert plugin.LARGE_MODEL.replaces_weights["checkpoint"] == ("33l_8ep_1024t_1280.torch",)


def test_a_named_file_comes_before_that_of_the_card(tmp_path):
    own = tmp_path / "own.csv"
    own.write_text("")
    settings = read_settings(Settings, {"chromosomes": str(own)}, what="uce")
    there = {file.wanted: tmp_path / file.wanted for file in declared("uce")}
    files = find_files("uce", there, settings.files)
    assert (files.chromosomes, files.checkpoint) == (own, tmp_path / "4layer_model.torch")
    assert files.own
    assert not find_files("uce", there, FileNames()).own
    for text, message in ((str(tmp_path / "no.csv"), "is not a file"), ("own.csv", "is not an absolute path")):
        settings = read_settings(Settings, {"chromosomes": text}, what="uce")
        with pytest.raises(DataError, match=f"chromosomes='.*' {message}"):
            find_files("uce", there, settings.files)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_the_lock_is_complete_and_exact(name):
    lines = (PACKAGE / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(len(pin.specifier) == 1 and next(iter(pin.specifier)).operator == "==" for pin in pins)
    assert {"torch", "numpy", "scipy", "pandas", "anndata", "safetensors", "pertharness-foundation"} <= {
        pin.name for pin in pins
    }
