"""Write a plugin package to start from, which installs, runs and passes its tests."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from pertharness.contract.errors import RecipeError

KINDS = ("model", "scorer", "dataset", "embedding")
TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 40


def write_plugin(name: str, kind: str, folder: Path) -> list[Path]:
    """Write the package of a plugin, and return its files.

    Parameters
    ----------
    name
        Name of the plugin and of its one offer. The distribution is ``pertharness-NAME``, the module
        ``pertharness_NAME``.
    kind
        One of `KINDS`.
    folder
        Where to write it; must not exist.

    Raises
    ------
    RecipeError
        If the name is not a valid module name or is in use, or if the folder exists.
    """
    import jinja2

    check_name(name)
    if folder.exists() or folder.is_symlink():
        raise RecipeError(f"{str(folder)!r} already exists; remove it, or name another folder with --folder")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        autoescape=False,
    )  # fmt: skip
    words = {"name": name, "kind": kind, "module": f"pertharness_{name}", "distribution": _distribution(name)}
    files = {
        "pyproject.toml": "pyproject.toml.jinja",
        "README.md": "README.md.jinja",
        f"src/{words['module']}/__init__.py": f"{kind}.py.jinja",
        f"tests/test_{name}.py": f"test_{kind}.py.jinja",
    }
    written = []
    for path, template in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(environment.get_template(template).render(words), encoding="utf-8")
        written.append(target)
    return written


def check_name(name: str) -> None:
    """Check that a name can be that of a new plugin.

    Raises
    ------
    RecipeError
        If the name is not a valid module name, or is in use.
    """
    from pertharness.host.plugins.registry import find_plugins

    if not _NAME.fullmatch(name) or len(name) > _LONGEST or keyword.iskeyword(name):
        better = re.sub(r"[^a-z0-9]+", "_", name.lower().removeprefix("pertharness")).strip("_0123456789")[:_LONGEST]
        hint = f"; perhaps {better!r}" if _NAME.fullmatch(better) and not keyword.iskeyword(better) else ""
        raise RecipeError(
            f"{name!r} cannot be the name of a plugin: expected lower-case letters, digits and single underscores, a "
            f"letter first, at most {_LONGEST} of them, not a Python keyword{hint}"
        )
    plugins, problems = find_plugins()
    if name in plugins or name in {problem.plugin for problem in problems}:
        raise RecipeError(
            f"a plugin {name!r} is installed already; expected a new name: two of one name cannot be used"
        )


def _distribution(name: str) -> str:
    return f"pertharness-{name.replace('_', '-')}"
