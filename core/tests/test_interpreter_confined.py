"""An interpreter that is asked what it has executes its start-up files, and these reach no more than a job's do."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from pertharness.host.environments.interpreter import plugin_of
from pertharness.host.execution.sandbox import find_mechanism


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return the interpreter of an environment with a plugin, and with a start-up file that looks around."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in others))
    (site / "startup.pth").write_text("import looks_around\n")
    (site / "looks_around.py").write_text(
        "import shutil\n"
        "try:\n"
        f"    shutil.copy({str(tmp_path / 'truth')!r}, {str(tmp_path / 'copied')!r})\n"
        "except OSError:\n"
        "    pass\n"
    )
    (site / "my_plugin.py").write_text("")
    info = site / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pertharness]\nmine = my_plugin\n")
    (tmp_path / "truth").write_text("truth")
    return tmp_path / "venv" / "bin" / "python"


def test_a_start_up_file_does_as_it_likes_in_a_process_of_the_users(python: Path, tmp_path: Path) -> None:
    """The control of the test below."""
    subprocess.run([python, "-I", "-c", ""], check=True)
    assert (tmp_path / "copied").read_text() == "truth"


@pytest.mark.skipif(find_mechanism("auto") == "none", reason="no isolation on this machine")
def test_a_start_up_file_reaches_nothing_when_its_interpreter_is_asked(python: Path, tmp_path: Path) -> None:
    plugin = plugin_of(python, "mine")
    assert (plugin.ref.module, plugin.ref.version) == ("my_plugin", "1.0")
    assert not (tmp_path / "copied").exists()
