"""Which plugins there are: names that no plugin may have."""

from dataclasses import replace
from pathlib import Path

from pertharness.contract.jobs import PluginRef
from pertharness.host.packages.installed import find_installed
from pertharness.host.plugins.registry import open_registry


def test_no_plugin_is_called_as_the_harness_is(tmp_path: Path) -> None:
    """Its jobs would be those of the harness itself, which may read everything."""
    baselines = find_installed()[0]["baselines"]
    ref = PluginRef(name="pertharness", module=baselines.ref.module, version="1")
    registry = open_registry({"pertharness": replace(baselines, ref=ref)})
    assert "pertharness" not in registry.plugins
    [problem] = [problem for problem in registry.problems if problem.plugin == "pertharness"]
    assert problem.state == "invalid"
    assert "the name of the harness itself; give its entry point another one" in problem.message
    assert {offered.plugin.ref.name for offered in registry.models.values()} == {"baselines"}
