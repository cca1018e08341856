"""What the check `imports` finds in a plugin's files, and what it takes for declared."""

import importlib

import pytest
from pertharness.contract.errors import ContractError, Skip
from pertharness.contract.jobs import PluginRef
from pertharness.testing.checks import run_check
from pertharness.testing.declared import Import, find_imports

SOURCE = """
from __future__ import annotations
import os, json as j
from typing import TYPE_CHECKING
import numpy
import pertharness.testing
from . import helper
from declaring_plugin.helper import f
{more}
if TYPE_CHECKING:
    import only_for_types
try:
    import fast_one
except ImportError:
    import slow_one
with contextlib.suppress(ImportError):
    import another_one
"""
LATE = "def fit():\n    from odd_upstream.sub import thing\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a plugin as pip would leave it, with requirements and a line more in its source."""

    def make(requires=("numpy>=1.23", "pertharness"), more="", lock=None):
        package = tmp_path / "declaring_plugin"
        package.mkdir()
        (package / "__init__.py").write_text(SOURCE.format(more=more))
        (package / "helper.py").write_text("import re\n")
        if lock:
            (package / "requirements.lock").write_text(lock)
        info = tmp_path / "declaring_plugin-1.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", "Name: declaring-plugin", "Version: 1.0"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {name}" for name in requires), ""]))
        (info / "entry_points.txt").write_text("[pertharness]\ndeclaring = declaring_plugin\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    return make


def check():
    run_check("card-imports", PluginRef(name="declaring", module="declaring_plugin", version="1.0"))


@pytest.mark.parametrize(
    ("requires", "more", "lock"),
    [
        (("numpy>=1.23", "pertharness"), "", None),
        (("pertharness",), "import scipy, anndata, pandas, pydantic", None),  # pertharness has them
        (("pertharness", "Odd.Upstream ; extra == 'gpu'"), LATE, None),
        (("pertharness", "odd_upstream[all]>=2"), LATE, None),
        (("pertharness",), LATE, "# all of it\nodd-upstream==1.0\n"),
        (("pertharness", "hypothesis"), "import hypothesis", None),
    ],
)
def test_what_is_declared_passes(install, requires, more, lock):
    install(requires, more, lock)
    check()


@pytest.mark.parametrize(
    ("requires", "more", "named"),
    [
        (("pertharness",), LATE, r"declaring_plugin/__init__\.py:10 imports 'odd_upstream'"),
        (("pertharness",), "import hypothesis", r"__init__\.py:9 imports 'hypothesis'"),
        (("pertharness",), "import click", r"imports 'click'"),  # the host's, which no worker environment has
        (("numpy",), "", r"__init__\.py:6 imports 'pertharness'"),
        (("pertharness",), "import " + ", ".join(f"odd{i}" for i in range(7)), "and 2 more"),
    ],
)
def test_what_is_not_declared_is_named_with_file_and_line(install, requires, more, named):
    install(requires, more)
    with pytest.raises(ContractError, match=f"declaring-plugin does not declare what it imports: .*{named}"):
        check()


def test_a_distribution_is_found_by_what_it_installs(install):
    """The module `dateutil` belongs to python-dateutil, which pandas brings."""
    install(("pertharness", "python-dateutil"), "import dateutil")
    check()


def test_without_a_distribution_nothing_can_be_declared(tmp_path, monkeypatch):
    (tmp_path / "loose_module.py").write_text("import numpy")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Skip, match="belongs to no distribution"):
        run_check("card-imports", PluginRef(name="loose", module="loose_module", version="0"))


def test_each_import_has_its_line(tmp_path):
    (tmp_path / "m.py").write_text("import os\nimport a.b, c\nif x:\n    from d import e\n")
    found = list(find_imports([tmp_path / "m.py"]))
    assert found == [Import("m.py", 2, "a"), Import("m.py", 2, "c"), Import("m.py", 4, "d")]
