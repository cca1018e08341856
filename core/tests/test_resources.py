"""Files of a plugin's package, found without importing the plugin, beside the harness and in its environment."""

from pathlib import Path

import pytest
from pertharness.contract.errors import PertharnessError
from pertharness.contract.jobs import PluginRef
from pertharness.host.packages.installed import find_installed
from pertharness.host.packages.resources import find_resource
from pertharness.host.plugins.registry import Plugin


def test_a_file_of_an_installed_plugin_is_found():
    plugins, _ = find_installed()
    name = "published/ahlmann-eltze-2025-double.toml"
    assert find_resource(plugins["scorers"], name).read_text(encoding="utf-8").startswith("#")
    with pytest.raises(PertharnessError, match=r"plugin 'scorers': its card names 'published/none\.toml'"):
        find_resource(plugins["scorers"], "published/none.toml")


@pytest.mark.parametrize("module", ["myplugin", "myplugin.hooks", "space.myplugin.hooks"])
def test_a_file_of_a_plugin_in_an_environment_is_found_and_nothing_is_imported(module, tmp_path):
    package = tmp_path / "lib" / "python3.11" / "site-packages" / Path(*module.removesuffix(".hooks").split("."))
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the host imports no plugin')")
    (package / "hooks.py").write_text("")
    (package / "recipe.toml").write_text("")
    ref = PluginRef(name="mine", module=module, version="1")
    plugin = Plugin(ref, tmp_path / "bin" / "python", "", "", folder=str(tmp_path))
    assert find_resource(plugin, "recipe.toml") == package / "recipe.toml"
