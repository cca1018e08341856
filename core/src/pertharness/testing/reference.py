"""Write the reference of hooks and cards as Markdown from their source: ``python -m pertharness.testing.reference``."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pertharness.contract import cards, hookspecs, protocol

CALLED = {
    "describe": "by every command, in the plugin's interpreter; kept until plugin or environment change",
    "load_dataset": "once per dataset of a recipe and its parameters",
    "make_side_file": "once per dataset and its parameters, if a job uses the file; it gets no data",
    "embed": "once per split, for each slot of a model that a recipe fills with it",
    "fit": "once per task, split seed and training seed (once for all training seeds if the card says `deterministic`)",
    "predict": "after `fit` or `load_model`, in the same process",
    "save_model": "after `fit`, in a job of `pertharness predict` or `run --keep-models`, if the plugin has it",
    "load_model": "instead of `fit`, by `pertharness predict --model-record`",
    "score": "once per prediction, in its own job",
}


def hooks_page() -> str:
    """Return the text of ``docs/plugins/hooks.md``."""
    return "\n".join([*_head(), *_hooks(), *_cards()]) + "\n"


def read_arguments(docstring: str) -> dict[str, str]:
    """Return what each argument of the hooks is, from the section ``Arguments`` of a docstring in numpydoc form."""
    section = docstring.partition("Arguments\n---------\n")[2]
    entries = re.findall(r"^(\w+)\n((?:    .+\n?)+)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _head() -> Iterator[str]:
    yield "# Hooks and cards"
    yield ""
    yield "<!-- Made by `python -m pertharness.testing.reference`; a test compares them. -->"
    yield ""
    yield f"This is hook protocol {protocol.PROTOCOL}. A plugin is a module, named by an entry point of the group"
    yield f"`{protocol.PROJECT}`. Its hooks are functions marked with `pertharness.hookimpl`; they take the arguments"
    yield "that they need, by name. Any hook may raise `pertharness.Skip` with a reason. A hook must not change its"
    yield "arguments or keep state in a module: data, tables, lists and parameters are compared after the call, and a"
    yield "change makes the record invalid. To write a plugin, start with [tutorial.md](tutorial.md)."
    yield ""


def _hooks() -> Iterator[str]:
    described = read_arguments(inspect.getdoc(hookspecs) or "")
    for name, function in vars(hookspecs).items():  # in the order of the source
        if getattr(function, f"{protocol.PROJECT}_spec", None) is None:
            continue
        signature = inspect.signature(function)
        yield f"## {name}"
        yield ""
        yield f"`{name}({', '.join(signature.parameters)})` → `{signature.return_annotation}`"
        yield ""
        yield _markdown(inspect.getdoc(function) or "")
        yield ""
        yield f"Called {CALLED[name]}."
        yield ""
        if signature.parameters:
            yield "| argument | type | meaning |"
            yield "|---|---|---|"
            for argument, parameter in signature.parameters.items():
                yield f"| `{argument}` | `{_cell(str(parameter.annotation))}` | {_cell(described[argument])} |"
            yield ""


def _cards() -> Iterator[str]:
    """Yield a table for each part of a card, with types and defaults as written in the source."""
    source = inspect.getsource(cards)
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        yield f"## {node.name}"
        yield ""
        yield _markdown(ast.get_docstring(node) or "")
        yield ""
        bases = [base.id for base in node.bases if isinstance(base, ast.Name) and not base.id.startswith("_")]
        if bases:
            yield f"It also has the fields of {', '.join(map(_linked, bases))}."
            yield ""
        if not any(isinstance(field, ast.AnnAssign) for field in node.body):
            continue
        yield "| field | type | default | meaning |"
        yield "|---|---|---|---|"
        for index, field in enumerate(node.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                type_ = ast.get_source_segment(source, field.annotation) or ""
                default = ast.get_source_segment(source, field.value) if field.value else None
                shown = f"`{_cell(default)}`" if default and "Field(" not in default else "required"
                follower = node.body[index + 1] if index + 1 < len(node.body) else None
                yield f"| `{field.target.id}` | `{_cell(type_)}` | {shown} | {_cell(_note(follower))} |"
        yield ""


def _linked(name: str) -> str:
    """Return a part of a card as a link to its table."""
    return f"[{name}](#{name.lower()})"


def _note(node: ast.stmt | None) -> str:
    """Return the docstring below a field."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return _markdown(" ".join(node.value.value.split()))
    return ""


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(hooks_page(), encoding="utf-8")
    else:
        sys.stdout.write(hooks_page())
