"""Group the options of a command in its help under headings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

OTHERS = "Options"
READING = "Reading the file"
_HEADING = "pertharness_heading"


class GroupedCommand(click.Command):
    """A command whose help lists its options by heading; only `data check` lists those on how a file is read."""

    lists_reading = False
    """Whether the help lists the options on how a file is read, and does not name the command that does."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each heading, in the order of the options; those without a heading come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(param, _HEADING, OTHERS), []).append(record)
        for heading, records in sorted(sections.items(), key=lambda section: section[0] == OTHERS):
            with formatter.section(heading):
                if heading == READING and not self.lists_reading:
                    examples = " and ".join(record[0].split()[0] for record in records[:2])
                    formatter.write_text(
                        f"{len(records)} options such as {examples}: see `pertharness data check --help`"
                    )
                else:
                    formatter.write_dl(records)


class ReadingCommand(GroupedCommand):
    """The command whose help lists the options on how a file is read."""

    lists_reading = True


def headed(heading: str, *options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options, in this order, under a heading."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
            setattr(getattr(function, "__click_params__")[-1], _HEADING, heading)  # noqa: B009 - click's own attribute
        return function

    return add
