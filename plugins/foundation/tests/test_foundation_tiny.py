"""Checkpoints of random weights."""

from __future__ import annotations

import json

import pytest
from pertharness_foundation.checkpoint import KeyRules, load_state, read_state_dict
from pertharness_foundation.tiny import keys_of, random_state, random_tensor, read_key_list, write_json, write_torch

torch = pytest.importorskip("torch")


def model():
    return torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.BatchNorm1d(20), torch.nn.Embedding(9, 20))


def test_values_depend_on_seed_and_key_alone():
    with torch.device("meta"):
        state = random_state(model(), 3, rename=lambda key: f"model.{key}")
    assert torch.equal(state["model.0.weight"], random_tensor("0.weight", (20, 30), 3))
    assert not torch.equal(state["model.0.weight"], random_state(model(), 4)["0.weight"])


def test_every_tensor_matters_and_numbers_are_of_ordinary_size():
    module = model()[:2].eval()
    module.load_state_dict(random_state(module, 0))
    out = module(torch.randn(200, 30, generator=torch.Generator().manual_seed(0)))
    assert 0.5 < float(out.detach().std()) < 2
    assert float(module[1].running_var.min()) >= 1
    constant = [key for key, value in module.state_dict().items() if value.ndim and float(value.std()) == 0]
    assert not constant


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_torch(tmp_path / name / "model.pt", {"state": random_state(model(), 0), "config": {"depth": 2}})
    assert (tmp_path / "one" / "model.pt").read_bytes() == (tmp_path / "two" / "model.pt").read_bytes()


def test_what_is_written_is_loaded_by_the_path_of_the_real_ones(tmp_path):
    write_torch(tmp_path / "model.pt", random_state(model(), 0))
    counts = load_state(model(), read_state_dict(tmp_path / "model.pt"), KeyRules(loads=("*",)), source="model.pt")
    assert (counts.loaded, counts.fresh) == (8, 0)
    write_json(tmp_path / "vocab.json", {"B": 1, "A": 0})
    assert list(json.loads((tmp_path / "vocab.json").read_text())) == ["B", "A"]


def test_lists_of_published_keys_are_compared_with_a_model(tmp_path):
    lines = ["# A. first", "0.weight\t[3, 2]\tfloat32", "0.bias\t[3]\tfloat32", "# tensors=2", "", "# B. second",
             "n\t[]\tint64"]  # fmt: skip
    (tmp_path / "keys.txt").write_text("\n".join(lines))
    with torch.device("meta"):
        module = torch.nn.Sequential(torch.nn.Linear(2, 3))
    assert read_key_list(tmp_path / "keys.txt") == keys_of(module)
    assert read_key_list(tmp_path / "keys.txt", "B") == {"n": ((), "int64")}
