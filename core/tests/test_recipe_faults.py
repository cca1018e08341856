"""Files that are no recipe, or one that asks for nothing: each is refused with what to do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from pertharness.contract.errors import RecipeError
from pertharness.host.cli.prefetch import prefetch
from pertharness.host.cli.run import run
from pertharness.host.recipe import read_recipe
from pertharness.host.recipe.read import MAX_BYTES

NOTHING = {
    "empty": ("", "no dataset and no task"),
    "a mark and line ends": ("\ufeff\r\n\r\n", "no dataset and no task"),
    "only comments": ("# [datasets.demo]\n", "no dataset and no task"),
    "only settings": ("seeds = [1]\nmodels = ['mean']\n", "no dataset and no task"),
    "no task": ("[datasets.demo]\n", "no task"),
    "no dataset": ("[[tasks]]\nsplit = { kind = 'double' }\n", "no dataset"),
}


@pytest.mark.parametrize("command", [run, prefetch])
@pytest.mark.parametrize("case", NOTHING)
def test_a_recipe_that_asks_for_nothing_is_refused(case: str, command: object, tmp_path: Path) -> None:
    text, words = NOTHING[case]
    (tmp_path / "r.toml").write_text(text, encoding="utf-8")
    env = {"PERTHARNESS_STORE": str(tmp_path / "store")}
    done = CliRunner().invoke(command, [str(tmp_path / "r.toml")], env=env)  # type: ignore[arg-type]
    assert isinstance(done.exception, RecipeError)
    assert f"r.toml: the recipe names {words}, so there is nothing to run; expected" in str(done.exception)
    assert not (tmp_path / "store").exists()


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "cannot be read: Is a directory"),
        (link_to_itself, "cannot be read: Too many levels of symbolic links"),
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.write_bytes('name = "é"'.encode("latin-1")), "is not UTF-8 text.*save it as UTF-8"),
        (lambda path: path.write_bytes("[datasets.demo]".encode("utf-16")), r"begins with b'\\xff\\xfe.*save it as"),
        (lambda path: path.write_bytes(b"#" * (MAX_BYTES + 1)), f"larger than {MAX_BYTES} bytes"),
        (lambda path: path.symlink_to("/dev/zero"), f"larger than {MAX_BYTES} bytes"),
        (lambda path: path.write_text(f'[datasets.d]\nfile = "{"x" * 5000}"'), "datasets.d.file: no file"),
        (lambda path: path.write_bytes(b"[datasets.demo]\r[[tasks]]\r"), "not TOML"),
    ],
    ids=["folder", "loop", "absent", "Latin-1", "UTF-16", "huge", "endless", "long name", "old line ends"],
)
def test_what_is_no_recipe_is_named(make: object, words: str, tmp_path: Path) -> None:
    make(tmp_path / "r.toml")  # type: ignore[operator]
    with pytest.raises(RecipeError, match=words):
        read_recipe(tmp_path / "r.toml")


def test_a_recipe_may_come_out_of_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("[datasets.demo]\n",))
    writer.start()
    assert list(read_recipe(path).datasets) == ["demo"]
    writer.join()
