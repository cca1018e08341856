"""``pertharness data``: thin commands over the folder of published files."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pertharness.contract.errors import RecipeError
from pertharness.host.cli.data import data
from pertharness.host.cli.fetching import _lines

H5AD = b"\x89HDF\r\n\x1a\n and so on"


def call(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(data, [*words, "--folder", str(tmp_path / "data")])


def test_list_info_and_fetch_agree_on_where_a_file_lies(tmp_path: Path) -> None:
    listed = call(tmp_path, "list").output.splitlines()
    assert any(line.startswith("demo ") and "built in" in line for line in listed)
    assert any(line.startswith("norman ") and "not fetched" in line for line in listed)
    facts = dict(line.split(":", 1) for line in call(tmp_path, "info", "norman").output.splitlines())
    path = Path(facts["path"].strip().removesuffix(" (not fetched)"))
    path.parent.mkdir(parents=True)
    path.write_bytes(H5AD)
    assert call(tmp_path, "fetch", "norman").output == f"norman: {path}\n"
    assert "(local)" in call(tmp_path, "info", "norman").output
    assert f"{path.name} {sha256(H5AD).hexdigest()}" in call(tmp_path, "info", "norman").output


def test_dataset_without_a_source_has_nothing_to_fetch(tmp_path: Path) -> None:
    assert call(tmp_path, "fetch", "demo").output == "demo: nothing to fetch (built in)\n"


def test_misspelt_name_is_an_error_that_names_the_near_one(tmp_path: Path) -> None:
    error = call(tmp_path, "fetch", "nrman").exception
    assert isinstance(error, RecipeError)
    assert "did you mean 'norman'?" in str(error)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        # 30 pieces of 10 MB: a line at each tenth of 300 MB; at each 100 MB where the whole is unknown
        (300_000_000, [f"x: {percent} % of 300 MB" for percent in range(0, 101, 10)]),
        (None, ["x: 10 MB", "x: 100 MB", "x: 200 MB", "x: 300 MB"]),
    ],
)
def test_lines_are_few(total: int | None, expected: list[str]) -> None:
    written: list[str] = []
    progress = _lines("x", written.append)
    for done in range(10_000_000, 300_000_001, 10_000_000):
        progress(done, total)
    assert written == expected
