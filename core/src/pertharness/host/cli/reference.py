"""Tables of command-line options in Markdown pages: ``python -m pertharness.host.cli.reference PAGE...`` renews them.

A page marks the place of a table with ``<!-- options: COMMAND -->`` and ``<!-- end of options -->``. ``run - data
check`` means the options of ``run`` that ``data check`` does not have, ``run & data check`` those that both have. So
options that several commands share are listed once.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from pertharness.host.cli import cli

BLOCK = re.compile(r"(<!-- options: (?P<commands>[a-z &-]+) -->\n).*?(<!-- end of options -->)", re.DOTALL)


def renew_tables(page: str) -> str:
    """Return a page with its option tables made again from the options of the commands.

    Raises
    ------
    ValueError
        If a marker names a command that does not exist.
    """
    return BLOCK.sub(lambda match: f"{match[1]}\n{_table(match['commands'])}\n{match[3]}", page)


def options_of(command_line: str) -> dict[str, click.Option]:
    """Return the visible options of a command such as ``data check``, by their first name, in the order of ``--help``.

    Raises
    ------
    ValueError
        If there is no such command.
    """
    command: click.Command = cli
    for name in command_line.split():
        context = click.Context(command)
        inner = command.get_command(context, name) if isinstance(command, click.Group) else None
        if inner is None:
            raise ValueError(f"no command {command_line!r}: expected a command of pertharness, such as 'data check'")
        command = inner
    options = (option for option in command.params if isinstance(option, click.Option) and not option.hidden)
    return {option.opts[0]: option for option in options}


def _table(commands: str) -> str:
    """Return the table that a marker asks for."""
    first, sign, second = (*re.split(" ([&-]) ", commands), "", "")[:3]
    others = options_of(second) if second else {}
    rows = [
        f"| {_usage(option)} | {_escaped(_meaning(option))} |"
        for name, option in options_of(first).items()
        if not sign or (name in others) == (sign == "&")
    ]
    return "\n".join(["| option | meaning |", "|---|---|", *rows, ""])


def _usage(option: click.Option) -> str:
    """Return the names of an option, with its value."""
    names = " / ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag or option.count:
        return names
    if isinstance(option.type, click.Choice):
        value = "|".join(map(str, option.type.choices))
    else:
        value = option.metavar or option.type.name.removesuffix(" range").upper()
    return f"{names[:-1]} {_escaped(value)}`"


def _meaning(option: click.Option) -> str:
    return f"{option.help or ''}{' Required.' if option.required else ''}".strip()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument)
        path.write_text(renew_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
