"""The complete example of docs/baselines.md works as it stands there."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
from pertharness import make_prediction
from pertharness.testing import call_fit, call_predict

PAGE = Path(__file__).parents[3] / "docs" / "baselines.md"


def test_example_of_a_model_runs_as_a_plugin():
    module = ModuleType("my_model")
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1], module.__dict__)
    assert [offer.name for offer in module.describe().models] == ["median"]
    train = make_prediction(
        {
            "control": np.array([9.0, 9.0]),
            "A": np.array([1.0, 0.0]),
            "B": np.array([2.0, 5.0]),
            "C": np.array([7.0, 4.0]),
        },
        ["g1", "g2"],
    )
    prediction = call_predict(module, call_fit(module, train), controls=train[:1], queries=["D", "A+B"])
    assert list(prediction.obs["perturbation"]) == ["D", "A+B"]
    assert prediction.X.tolist() == [[2.0, 4.0], [2.0, 4.0]]


def test_page_documents_each_baseline_and_its_parameters():
    import pertharness_baselines

    text = PAGE.read_text(encoding="utf-8")
    for offer in pertharness_baselines.describe().models:
        assert f"| `{offer.name}` |" in text
        assert all(parameter in text for parameter in offer.params)


def test_page_documents_each_embedding_and_its_parameters():
    import pertharness_baselines

    text = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)(?::FILE|:DATASET)?` \|(.*)$", text, re.MULTILINE))
    for offer in pertharness_baselines.describe().embeddings:
        spelled = offer.name + (":FILE" if offer.takes_file else ":DATASET" if offer.takes_reference else "")
        assert f"| `{spelled}` |" in text
        assert all(f"`{name} = {value}`" in rows[offer.name] for name, value in offer.params.items())
