"""The card, the parameters, and the files of the environment: no torch needed."""

from dataclasses import asdict
from pathlib import Path

import pertharness_scgpt as plugin
import pytest
from packaging.requirements import Requirement
from pertharness import DataError, Skip, read_settings
from pertharness.contract.jobs import PluginRef
from pertharness.testing.checks import card_checks, run_check
from pertharness_scgpt.settings import PROCEDURES, Settings
from pertharness_scgpt.weights import DECLARED, find_files

PACKAGE = Path(plugin.__file__).parent


@pytest.mark.parametrize("check", card_checks(), ids=lambda check: check.id)
def test_the_card_keeps_its_promises(check):
    try:
        run_check(check.id, PluginRef(name="scgpt", module="pertharness_scgpt", version="0"))
    except Skip as skip:  # where the plugin is on the path, but not installed
        pytest.skip(str(skip))


def test_published_settings_are_the_defaults():
    # The scGPT script of doi 10.1038/s41592-025-02772-6.
    published = {
        "epochs": 15, "patience": 5, "lr": 1e-4, "lr_factor": 0.9, "batch_size": 64, "eval_batch_size": 64,
        "max_seq_len": 1536, "dropout": 0.2, "pool_size": 100, "procedure": "paper",
    }  # fmt: skip
    assert published.items() <= plugin.MODEL.params.items()
    assert read_settings(Settings, plugin.MODEL.params, what="scgpt") == Settings()


def test_each_quirk_is_a_parameter_that_overrides_the_procedure():
    paper, corrected = (asdict(PROCEDURES[name]) for name in ("paper", "corrected"))
    assert all(paper[name] != corrected[name] for name in paper)
    for name, value in corrected.items():
        params = {**plugin.MODEL.params, name: value}
        assert asdict(read_settings(Settings, params, what="scgpt").choices()) == {**paper, name: value}
    settings = read_settings(Settings, {"procedure": "corrected", "pairing": "once"}, what="scgpt")
    assert asdict(settings.choices()) == {**corrected, "pairing": "once"}
    assert all(plugin.MODEL.params_help[name].help for name in plugin.MODEL.params)


def test_all_quirks_stand_in_the_readme():
    text = (PACKAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    paper, corrected = (asdict(PROCEDURES[name]) for name in ("paper", "corrected"))
    for name in paper:
        _, _, first, second, _ = rows[f"`{name}`"].split("|")
        assert f"`{paper[name]}`" in first
        assert f"`{corrected[name]}`" in second


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epoch": 3}, "there is no parameter 'epoch'"),
        ({"epochs": 0}, r"epochs is 0: .* greater than or equal to 1"),
        ({"pairing": "twice"}, "pairing is 'twice': .*'once' or 'every_epoch'"),
        ({"procedure": "mine"}, "procedure is 'mine': .*'paper' or 'corrected'"),
        ({"dropout": 1.0}, "dropout is 1.0: .* less than 1"),
    ],
)
def test_a_wrong_parameter_is_named(params, message):
    with pytest.raises(DataError, match=message):
        read_settings(Settings, params, what="scgpt")


def test_the_card_says_how_to_get_what_has_no_direct_link():
    by_hand = {file.wanted: file.by_hand for file in DECLARED if file.by_hand}
    assert list(by_hand) == ["best_model.pt"]
    assert "whole-human" in by_hand["best_model.pt"]
    assert plugin.MODEL.replaces_weights == plugin.EMBEDDING.replaces_weights
    assert plugin.MODEL.replaces_weights == {
        "checkpoint": ("best_model.pt",), "vocabulary": ("vocab.json",), "arguments": ("args.json",),
    }  # fmt: skip


def test_a_named_file_comes_before_that_of_the_card(tmp_path):
    own = tmp_path / "own.json"
    own.write_text("{}")
    settings = read_settings(Settings, {"arguments": str(own)}, what="scgpt")
    there = {file.wanted: tmp_path / file.wanted for file in DECLARED}
    files = find_files(there, settings.files)
    assert (files.arguments, files.vocabulary) == (own, tmp_path / "vocab.json")
    for text, message in ((str(tmp_path / "no.json"), "is not a file"), ("own.json", "is not an absolute path")):
        settings = read_settings(Settings, {"arguments": text}, what="scgpt")
        with pytest.raises(DataError, match=f"arguments='.*' {message}"):
            find_files(there, settings.files)


def test_the_lock_is_exact_and_says_not_where_from():
    lines = (PACKAGE / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all([part.operator for part in pin.specifier] == ["=="] and not pin.url for pin in pins)
    names = [pin.name for pin in pins]
    assert len(set(names)) == len(names)
    assert {"torch", "safetensors", "anndata", "pydantic", "pluggy", "psutil"} <= set(names)
    assert not {"pertharness", "pertharness-scgpt"} & set(names)
    assert "torch==2.13.0" in lines
