"""Tables of options on the pages are those of ``--help``, and the pages name no option that does not exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pertharness.host.cli import cli
from pertharness.host.cli.reference import options_of, renew_tables

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Options of other programs: pip, core/tests/stage_digests.py. Those on benchmarks.md are of the scripts in benchmarks/.
ELSEWHERE = {"--no-deps", "--list", "--unchanged"}


def options_of_all(command: click.Command) -> Iterator[str]:
    """Yield the options of a command and of all commands below it."""
    context = click.Context(command)
    yield from (name for option in command.get_params(context) for name in [*option.opts, *option.secondary_opts])
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from options_of_all(inner)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_options_are_those_of_the_help(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    assert text == renew_tables(text), f"run: python -m pertharness.host.cli.reference {name}"
    assert text.count("<!-- options:") == text.count("<!-- end of options -->")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "benchmarks.md"], ids=lambda page: page.name)
def test_a_page_names_only_options_that_exist(page: Path) -> None:
    known = set(options_of_all(cli)) | ELSEWHERE
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page.read_text(encoding="utf-8")))
    assert named - known == set()


def test_each_option_of_run_is_in_one_table() -> None:
    tables = "\n".join(
        table
        for page in PAGES
        for table in re.findall(
            r"<!-- options: run.*?<!-- end of options -->", page.read_text(encoding="utf-8"), re.DOTALL
        )
    )
    rows = re.findall(r"^\| `(--[a-z-]+)", tables, re.MULTILINE)
    assert sorted(rows) == sorted(options_of("run"))


def test_a_table_has_names_values_and_meanings() -> None:
    page = "<!-- options: score - run -->\nold\n<!-- end of options -->\n"
    rows = renew_tables(page).splitlines()
    assert "old" not in rows
    kind = next(row for row in rows if "--prediction-kind" in row)
    assert kind.startswith("| `--prediction-kind mean\\|change` | ")
    assert not any("--models" in row for row in rows)
    assert renew_tables(page.replace("score - run", "score & run")).count("| `--models") == 1


def test_a_command_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="no command 'data chekc'"):
        renew_tables("<!-- options: data chekc -->\n<!-- end of options -->")
