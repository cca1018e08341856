"""Check that a plugin's metadata declare all its imports, without importing the plugin."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path

from pertharness.contract.errors import ContractError, Skip
from pertharness.contract.protocol import PROJECT
from pertharness.testing.failures import package_roots

WORKER_SIDE = frozenset({"anndata", "numpy", "pandas", "pluggy", "pydantic", "scipy"})
"""Packages of the types that hooks receive and return; they are installed with pertharness."""
MOST = 5
"""Largest number of imports in a message."""


@dataclass(frozen=True)
class Import:
    """An import of a package.

    Attributes
    ----------
    file
        Path relative to the folder that has the plugin's package.
    package
        First part of the module's name.
    """

    file: str
    line: int
    package: str


def check_imports_declared(module: str) -> None:
    """Raise an error for imports that the metadata of a plugin do not declare.

    Raises
    ------
    ContractError
        If there are such imports; the message has file and line of each.
    Skip
        If the module belongs to no distribution, so that it has no metadata.
    """
    owner = distribution_of(module)
    if owner is None:
        raise Skip(f"the module {module!r} belongs to no distribution, so nothing is declared; pip install the plugin")
    roots = package_roots(module)
    declared = _declared_by(owner) | {name for root in roots for name in _locked_in(root)}
    if normalise("pertharness") in declared:
        declared |= WORKER_SIDE
    unknown = [line for line in find_imports(roots) if normalise(line.package) not in declared]
    owners = owners_of_packages() if unknown else {}  # slow: reads the metadata of all distributions
    missing = []
    for line in unknown:
        names = {normalise(name) for name in owners.get(line.package, [line.package])}
        if not names & declared and not _is_beside(line.package, roots, owners):
            missing.append((line, min(names)))
    if missing:
        lines = [
            f"{line.file}:{line.line} imports {line.package!r}" + (f" ({name})" if name != line.package else "")
            for line, name in missing[:MOST]
        ]
        more = f" and {len(missing) - MOST} more" if len(missing) > MOST else ""
        raise ContractError(
            f"{owner.name} does not declare what it imports: {'; '.join(lines)}{more}; add it to dependencies in "
            "pyproject.toml, or import it inside a try block if it can be done without"
        )


def distribution_of(module: str) -> Distribution | None:
    """Return the distribution that a plugin's module belongs to; None if it belongs to none."""
    for point in entry_points(group=PROJECT):
        if point.module == module and point.dist is not None:
            return point.dist
    for name in owners_of_packages().get(module.split(".")[0], []):
        return distribution(name)
    try:
        return distribution(module.split(".")[0])
    except PackageNotFoundError:
        return None


def owners_of_packages() -> dict[str, list[str]]:
    """Return the distributions that install each top-level package, like `packages_distributions` of Python 3.11.

    The function of Python 3.10 needs a ``top_level.txt``, which few build backends write today.
    """
    owners: dict[str, list[str]] = {}
    for installed in distributions():
        files = [file for file in installed.files or [] if file.suffix == ".py"]
        listed = (installed.read_text("top_level.txt") or "").split()
        for name in listed or {file.parts[0] if len(file.parts) > 1 else file.stem for file in files}:
            owners.setdefault(name, []).append(installed.metadata["Name"])
    return owners


def find_imports(roots: list[Path]) -> Iterator[Import]:
    """Yield the imports of other packages, except the standard library and imports in a try block."""
    own = {root.stem if root.suffix == ".py" else root.name for root in roots}
    for root in roots:
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            if file.suffix != ".py":
                continue
            for node in _unguarded(ast.parse(file.read_bytes(), str(file))):
                for name in _modules_of(node):
                    package = name.split(".")[0]
                    if package not in own and package not in sys.stdlib_module_names:
                        yield Import(str(file.relative_to(root.parent)), node.lineno, package)


def _unguarded(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports below a node, except those in a try block and those for type checking."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif type(child).__name__ in ("Try", "TryStar") or (isinstance(child, ast.With) and "suppress" in _head(child)):
            continue
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _unguarded(ast.Module([other], []))
        else:
            yield from _unguarded(child)


def _head(node: ast.With) -> str:
    """Return the context expressions of a with statement."""
    return ", ".join(ast.unparse(item.context_expr) for item in node.items)


def _modules_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the names of the modules in an import; relative imports have none."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.module and not node.level else []


def _declared_by(owner: Distribution) -> set[str]:
    """Return the name of a distribution and the names of its requirements, including those of extras."""
    return {normalise(owner.name), *map(_name_of, owner.requires or [])}


def _locked_in(root: Path) -> set[str]:
    """Return the names in the lock files of a plugin's environment, which are in its package."""
    locks = sorted(root.glob("requirements*.lock")) if root.is_dir() else []
    lines = [line for lock in locks for line in lock.read_text(encoding="utf-8").splitlines()]
    return {name for line in lines if (name := _name_of(line))}


def _is_beside(package: str, roots: list[Path], owners: Mapping[str, list[str]]) -> bool:
    """Return whether a package without a distribution is in the same source folder as the plugin."""
    if package in owners or not roots:
        return False
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and roots[0].parent in Path(spec.origin).parents


def normalise(name: str) -> str:
    """Return the name of a distribution, normalised as in PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _name_of(requirement: str) -> str:
    """Return the name in a requirement; empty if the line is not a requirement."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return normalise(match[1]) if match else ""
