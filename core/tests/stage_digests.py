"""What each stage is made of, as one digest: what tells that a stage's number may have to be raised.

The parts of a stage are found by walking the code from the function that carries it out: every function, class and
constant that it comes to, in whatever module. Formatting, comments, docstrings, the annotations of functions and the
places of modules do not count; the annotations of a class's fields do, since pydantic reads them. Only sources are
read, nothing is imported, so that the digests are the same on every Python.

    python core/tests/stage_digests.py                     what has changed; a raised number is taken up
    python core/tests/stage_digests.py --unchanged STAGE   STAGE (or all) means what it meant: take up its digest
    python core/tests/stage_digests.py --list STAGE        the parts of a stage
"""

from __future__ import annotations

import argparse
import ast
import copy
import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("stage_digests.json")
PACKAGE = "pertharness"
NUMBERS = f"{PACKAGE}.contract.stages"
WITH_PLUGINS = ("cards", "datasets", "embeddings", "predictions", "scores", "checks")
"""Stages in which code of a plugin may call whatever `pertharness` offers to plugins."""
OF_EVERY_STAGE = [(f"{PACKAGE}.contract.jobs", "Job")]
MORE_ROOTS = {
    "datasets": [(f"{PACKAGE}.datasets", "load_dataset")],  # the plugin that is part of the core
    "splits": [(f"{PACKAGE}.host.plan.split_jobs", "make_split_writer")],  # drawn by the host, laid out by a worker
}
NOT_SERIALISED = {"ctx", "kind", "type_comment", "type_ignores", "returns"}


@dataclass(frozen=True)
class Part:
    """A definition at the top of a module: ``name`` stands there once or, under conditions, several times."""

    module: str
    name: str


@dataclass
class Module:
    """A module's source: its definitions by name, what it imports by name, and statements that bind nothing."""

    name: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name -> module and, of ``from module import name``, the name there."""
    others: list[ast.stmt] = field(default_factory=list)


class Sources:
    """The modules of the package under a root, read when first asked for."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.folder = root / "core" / "src"
        self.modules: dict[str, Module] = {}
        self.taken: dict[int, tuple[str, list[Part | str | None]]] = {}
        """Of each statement, its text and what it refers to: several stages come to most of them."""

    def path(self, module: str) -> Path | None:
        """Return the file of a module of the package, None where there is no such module."""
        if module.partition(".")[0] != PACKAGE:
            return None
        base = self.folder.joinpath(*module.split("."))
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    def module(self, name: str) -> Module:
        """Return a module of the package."""
        if name not in self.modules:
            path = self.path(name)
            assert path is not None, name
            self.modules[name] = read_module(name, path)
        return self.modules[name]

    def resolve(self, module: str, name: str) -> Part | str | None:
        """Return what a name in a module is: a part, the full name of a module or of something foreign, or None."""
        known = self.module(module)
        if name in known.definitions:
            return Part(module, name)
        if name in known.imports:
            return self.resolve_import(*known.imports[name])
        return f"{module}.{name}" if self.path(f"{module}.{name}") else None

    def resolve_import(self, module: str, name: str) -> Part | str:
        """Return what ``import module`` or ``from module import name`` brings."""
        full = f"{module}.{name}" if name else module
        if not name or self.path(full) or not self.path(module):
            return full
        return self.resolve(module, name) or full


def read_module(name: str, path: Path) -> Module:
    """Read the source of a module."""
    module = Module(name)
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        imports = list(imports_in(statement))
        module.imports.update(imports)
        bound = list(bound_by(statement))
        for each in bound:
            module.definitions.setdefault(each, []).append(statement)
        if not bound and not imports and not is_text(statement):
            module.others.append(statement)
    return module


def imports_in(node: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that are imported anywhere in a statement that is no definition, or inside of a definition."""
    scopes = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    inner = ast.walk(node) if not isinstance(node, scopes) else ()
    for each in inner:
        yield from imported(each)


def imported(node: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that one statement imports; the package has no relative imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, (alias.name, "")) if alias.asname else (alias.name.split(".")[0], (alias.name, ""))
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
        assert node.level == 0 and node.module, "relative imports cannot be followed"
        for alias in node.names:
            yield alias.asname or alias.name, (node.module, alias.name)


def bound_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node is not statement:
            yield node.name


def is_text(node: ast.AST) -> bool:
    """Whether a statement is nothing but a text: a docstring, or one below a constant or a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class _Bare(ast.NodeTransformer):
    """Takes away what has no meaning."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return None
        plain = ast.Assign(targets=[node.target], value=node.value)
        return self.generic_visit(plain)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        body: list[Any] = []
        for statement in node.body:  # a field's annotation is what pydantic and dataclasses go by
            kept = isinstance(statement, ast.AnnAssign)
            body.append(statement if kept else self.visit(statement))
        node.body = [statement for statement in body if statement is not None]
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if is_text(node) else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        return None  # what it brings is followed, or named, where it is used

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None


def bare(node: ast.AST) -> ast.AST | None:
    """Return a copy without comments, docstrings, annotations and imports; None where nothing is left."""
    stripped: ast.AST | None = _Bare().visit(copy.deepcopy(node))
    return stripped


def serialise(node: Any) -> Any:
    """Return a node as lists and texts that are the same on every Python from 3.10 on."""
    if isinstance(node, list):
        return [serialise(each) for each in node]
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, repr(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["JoinedStr", *joined(node.values)]
    if isinstance(node, ast.AST):
        fields = {name: value for name, value in ast.iter_fields(node) if name not in NOT_SERIALISED}
        if not fields.get("type_params", True):  # new in Python 3.12
            del fields["type_params"]
        return [type(node).__name__, [[name, serialise(fields[name])] for name in sorted(fields)]]
    return repr(node)


def joined(values: Iterable[ast.expr]) -> Iterator[Any]:
    """Yield the pieces of an f-string, texts that follow one another as one: where these are cut differs by version."""
    text = ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        if text:
            yield ["text", text]
        text = ""
        yield serialise(value)
    if text:
        yield ["text", text]


@dataclass
class Walk:
    """All that is reached from some roots."""

    sources: Sources
    parts: set[Part] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    """Serialised definitions, and the full names of what is foreign."""
    seen: set[str] = field(default_factory=set)
    """Modules of which something was reached."""

    def reach(self, root: Part | str | None) -> None:
        """Go to a part, a whole module or something foreign, and from there on."""
        todo = [root]
        while todo:
            found = todo.pop()
            if isinstance(found, Part) and found not in self.parts:
                self.parts.add(found)
                module = self.sources.module(found.module)
                if found.module not in self.seen:
                    self.seen.add(found.module)
                    todo += [each for other in module.others for each in self.take(other, module)]
                todo += [each for node in module.definitions[found.name] for each in self.take(node, module)]
            elif isinstance(found, str) and self.sources.path(found):
                todo += [Part(found, name) for name in self.sources.module(found).definitions]
            elif isinstance(found, str) and found.partition(".")[0] != PACKAGE:
                self.texts.add(found)

    def take(self, node: ast.AST, module: Module) -> list[Part | str | None]:
        """Take up the text of a node and return what it refers to."""
        if id(node) not in self.sources.taken:
            stripped = bare(node)
            local = dict(each for inner in ast.walk(node) for each in imported(inner))
            self.sources.taken[id(node)] = (
                ("", [])  # an import of ``__future__``
                if stripped is None
                else (json.dumps(serialise(stripped)), list(self.referred(stripped, module, local)))
            )
        text, referred = self.sources.taken[id(node)]
        self.texts.add(text)
        return referred

    def referred(self, node: ast.AST, module: Module, local: dict[str, tuple[str, str]]) -> Iterator[Part | str | None]:
        """Yield what the names in a node are; of ``module.name`` only the name, of a bare module all of it."""
        names = dotted(node)
        if names:
            first, *rest = names
            if first in local:
                found: Part | str | None = self.sources.resolve_import(*local[first])
            else:
                found = self.sources.resolve(module.name, first)
            while isinstance(found, str) and rest:
                step = rest.pop(0)
                found = self.sources.resolve_import(found, step)
            yield found
            if rest or isinstance(node, ast.Name):
                return
        for child in ast.iter_child_nodes(node):
            if not names or not isinstance(child, ast.Name | ast.Attribute):
                yield from self.referred(child, module, local)


def dotted(node: ast.AST) -> list[str]:
    """Return the names of ``a.b.c``, none where a node is something else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def entries(sources: Sources) -> dict[str, tuple[Module, ast.expr]]:
    """Return what carries out each stage, as the worker's table has it, with the module of the table."""
    numbered = stage_versions(sources)
    for path in sorted((sources.folder / PACKAGE / "worker").rglob("*.py")):
        name = ".".join(path.relative_to(sources.folder).with_suffix("").parts).removesuffix(".__init__")
        module = sources.module(name)
        for statement in module.definitions.get("STAGES", []):
            for node in ast.walk(statement):
                if isinstance(node, ast.Dict) and {ast.unparse(key) for key in node.keys if key} >= {
                    repr(stage) for stage in numbered
                }:
                    pairs = zip(node.keys, node.values, strict=True)
                    return {key.value: (module, value) for key, value in pairs if isinstance(key, ast.Constant)}
    raise AssertionError("no module of the worker has a table STAGES with all stages")


def stage_versions(sources: Sources) -> dict[str, int]:
    """Return the number of each stage."""
    (statement,) = sources.module(NUMBERS).definitions["STAGE_VERSIONS"]
    table = next(node for node in ast.walk(statement) if isinstance(node, ast.Dict))
    numbers: dict[str, int] = ast.literal_eval(table)
    return numbers


@functools.lru_cache(maxsize=1)
def offered_to_plugins(sources: Sources) -> list[Part | str | None]:
    """Return what plugins may import: the public names, and whatever else the plugins of this repository import."""
    public = ast.literal_eval(
        next(node for node in ast.walk(sources.module(PACKAGE).definitions["_HOME"][0]) if isinstance(node, ast.Dict))
    )
    # What is for callers of runs lies in the host, which no environment of a plugin has.
    found = {(f"{PACKAGE}.{home}", name) for name, home in public.items() if not home.startswith("host.")}
    for path in sorted(sources.root.glob("plugins/*/src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:  # within the plugin
                continue
            found |= {bound for _, bound in imported(node) if bound[0].partition(".")[0] == PACKAGE}
    return [sources.resolve_import(*each) for each in sorted(found)]


def walk_stage(sources: Sources, stage: str) -> Walk:
    """Return all that a stage is made of."""
    walk = Walk(sources)
    module, entry = entries(sources)[stage]
    is_entry_point = isinstance(entry, ast.Constant)
    roots = [
        *([Part(*entry.value.split(":"))] if is_entry_point else walk.referred(entry, module, {})),
        *(Part(*root) for root in [*OF_EVERY_STAGE, *MORE_ROOTS.get(stage, [])]),
    ]
    if stage in WITH_PLUGINS:
        roots += offered_to_plugins(sources)
    for root in roots:
        walk.reach(root)
    return walk


def digests(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Return number and digest of every stage."""
    sources = Sources(root)
    return {
        stage: {"version": number, "digest": digest_of(walk_stage(sources, stage).texts)}
        for stage, number in stage_versions(sources).items()
    }


def digest_of(texts: Iterable[str]) -> str:
    """Return the sha256 over texts in any order."""
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()


def differences(known: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """Return what is to be done, by stage, of which number or digest are not those that are known."""
    found = dict.fromkeys(known.keys() ^ now.keys(), "is new, or is no longer there")
    for stage in sorted(known.keys() & now.keys()):
        before, after = known[stage], now[stage]
        if after["version"] < before["version"]:
            found[stage] = f"has the number {after['version']}, once {before['version']}: numbers are never used again"
        elif after["version"] > before["version"]:
            found[stage] = "has a new number: run python core/tests/stage_digests.py"
        elif after["digest"] != before["digest"]:
            found[stage] = (
                f"has changed: raise its number in {NUMBERS} if the same inputs may now give another result, "
                f"else run python core/tests/stage_digests.py --unchanged {stage}"
            )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Compare, take up what may be, and print the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = list(stage_versions(Sources()))
    parser.add_argument("--unchanged", nargs="+", choices=[*stages, "all"], default=[], metavar="STAGE")
    parser.add_argument("--list", choices=stages, metavar="STAGE")
    given = parser.parse_args(arguments)
    if given.list:
        parts = walk_stage(Sources(), given.list).parts
        print("\n".join(sorted(f"{part.module}:{part.name}" for part in parts)))
        return 0
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    now = digests()
    for stage in stages:
        raised = stage not in known or now[stage]["version"] > known[stage]["version"]
        same_number = not raised and now[stage]["version"] == known[stage]["version"]
        if raised or (same_number and {stage, "all"} & set(given.unchanged)):
            known[stage] = now[stage]
    known = {stage: known[stage] for stage in stages}
    FILE.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    left = differences(known, now)
    for stage, what in left.items():
        print(f"stage {stage!r} {what}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
