"""The plugin keeps every promise of the conformance kit."""

import pytest
from pertharness import Skip
from pertharness.contract.jobs import PluginRef
from pertharness.testing import conformance
from pertharness.testing.checks import run_check

test_conformance = conformance("pertharness_baselines")


def test_the_kit_has_another_screen_for_an_embedding_and_says_that_it_has_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ref = PluginRef(name="baselines", module="pertharness_baselines", version="1")
    for kind in ("gene", "perturbation"):
        run_check(f"transfer-{kind}-table", ref)
        with pytest.raises(Skip, match="it takes a file: name one with --file spectral=PATH"):
            run_check(f"spectral-{kind}-table", ref)
        with pytest.raises(Skip, match="gives any label a row"):
            run_check(f"random-{kind}-unknown_label", ref)
