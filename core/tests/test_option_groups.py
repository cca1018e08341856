"""Help under headings, and how much a command prints."""

import re

import pytest
from click.testing import CliRunner
from pertharness.host.cli import cli
from pertharness.host.cli.shared_options import DATA_FLAGS


def help_of(*command: str) -> str:
    done = CliRunner().invoke(cli, [*command, "--help"])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_help_of_run_has_a_section_for_each_group_of_options() -> None:
    text = help_of("run")
    headings = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert headings == ["Data and models", "Reading the file", "Output", "Running", "Options"]
    sections = dict(zip(headings, re.split(r"^\w[\w ]*:$", text, flags=re.MULTILINE)[1:], strict=True))
    assert "--models" in sections["Data and models"]
    assert "--quiet" in sections["Output"]
    assert "--timeout" in sections["Running"]
    assert "RECIPE]" not in sections["Options"]


@pytest.mark.parametrize("command", [("run",), ("score",), ("split",), ("data", "labels")])
def test_options_on_reading_a_file_are_listed_by_data_check_alone(command: tuple[str, ...]) -> None:
    flags = [f"--{name.replace('_', '-')} " for name in DATA_FLAGS]
    listed = help_of("data", "check")
    assert all(flag in listed for flag in flags)
    assert "pertharness data check --help" in " ".join(help_of(*command).split())
    assert sum(flag in help_of(*command) for flag in flags) <= 2  # its examples


def test_verbose_and_quiet_exclude_each_other() -> None:
    done = CliRunner().invoke(cli, ["run", "-v", "-q"])
    assert done.exit_code == 2
    assert "--verbose and --quiet exclude each other" in done.output
