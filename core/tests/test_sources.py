"""A plugin that is edited while a run uses it: nothing is recorded under the key of what it was."""

import os
import sys
from pathlib import Path

import pytest
from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner
from pertharness.host.packages.sources import Sources
from pertharness.host.store.records import Store

EDITS_ITSELF = """
import pathlib
import pertharness

@pertharness.hookimpl
def describe():
    with pathlib.Path({edited!r}).open("a") as file:
        file.write({text!r})
    return pertharness.Card()
"""


def test_what_a_file_holds_counts_and_not_when_it_was_written(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("A = 1\n")
    sources = Sources([module])
    assert sources.find_changed() is None
    module.write_text("A = 1\n")  # as by a checkout of the same state
    assert sources.find_changed() is None
    facts = module.stat()
    module.write_text("A = 2\n")
    os.utime(module, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert sources.find_changed() == module
    module.unlink()
    assert sources.find_changed() == module


@pytest.mark.parametrize("text", ["# edited\n", ""])
def test_a_job_of_a_plugin_that_is_edited_meanwhile_leaves_no_record(text: str, tmp_path: Path) -> None:
    edited = tmp_path / "edited.py"
    edited.write_text("")
    (tmp_path / "edits_itself.py").write_text(EDITS_ITSELF.format(edited=str(edited), text=text))
    script = tmp_path / "python"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    code += "from pertharness.worker.main import main; sys.exit(main(sys.argv[6:]))"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -c "{code}" "$@"\n')
    script.chmod(0o755)
    store = Store.open(tmp_path / "store")
    job = Job(key="key", stage="cards", plugin=PluginRef(name="mine", module="edits_itself", version="1"))
    node = Node(job=job, python=script, title="card", sources=Sources([edited]))
    runner = Runner(store, local_executor(store.root, isolation="none"))
    if text:
        with pytest.raises(StoreError, match=r"edited\.py' of the plugin 'mine' was changed while the run used it"):
            runner.run([node])
        assert not list((store.root / "work").iterdir())
    else:
        assert runner.run([node])["key"].state == "done"
    assert (store.status("cards", "key") is None) == bool(text)
