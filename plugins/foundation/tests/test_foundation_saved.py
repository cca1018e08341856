"""Fitted models as files."""

from __future__ import annotations

import pytest
from pertharness_foundation.contents import CheckpointError
from pertharness_foundation.saved import FACTS, WEIGHTS, load_weights, save_weights

torch = pytest.importorskip("torch")


def test_tensors_and_facts_come_back(tmp_path):
    table = torch.arange(6.0).reshape(2, 3)
    tensors = {"table": table, "same memory": table, "turned": table.T, "count": torch.tensor(3), "half": table.half()}
    facts = {"genes": ["A", "B"], "settings": {"lr": 1e-4, "dropout": None}}
    save_weights(tmp_path, tensors, facts)
    back, same_facts = load_weights(tmp_path)
    assert same_facts == facts
    assert all(torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in tensors.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [FACTS, WEIGHTS]


def test_facts_that_json_cannot_hold_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_weights(tmp_path, {"x": torch.ones(1)}, {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [WEIGHTS, FACTS])
@pytest.mark.parametrize("damage", ["absent", "half"])
def test_a_damaged_model_is_an_error(tmp_path, name, damage):
    save_weights(tmp_path, {"x": torch.ones(100)}, {"genes": ["A"] * 10})
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if damage == "half":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"the saved model in .* cannot be read: .*--keep-models"):
        load_weights(tmp_path)
