"""Write the table of models in README.md from the cards of the plugins here: ``python docs/models/table.py``.

With ``--print``, the table is printed instead. The plugins need not be installed: their cards load without upstream's
packages.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from pertharness import ModelOffer

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = FOLDER / "README.md"
BEGIN, END = "<!-- made by docs/models/table.py -->", "<!-- end of the table -->"
COLUMNS = ("model", "predicts", "is given", "information", "oracle", "pretraining data", "licence", "files")
OVERLAPS = {
    "no": "none of the task", "yes": "with data of the task", "unknown": "overlap with the task unknown",
}  # fmt: skip


def models() -> Iterator[tuple[str, ModelOffer]]:
    """Yield plugin and model: the baselines first, then the others by name."""
    names = sorted(path.parents[2].name for path in ROOT.glob("plugins/*/src/pertharness_*/__init__.py"))
    sys.path[:0] = [str(ROOT / "plugins" / name / "src") for name in names]
    for name in sorted(names, key=lambda name: name != "baselines"):
        module = importlib.import_module(f"pertharness_{name}")
        if hasattr(module, "describe"):
            for offer in module.describe().models:
                yield name, offer


def table() -> str:
    """Return the table as Markdown."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(cells(plugin, offer) for plugin, offer in models())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(plugin: str, offer: ModelOffer) -> tuple[str, ...]:
    """Return the cells of a model."""
    overlap = "none" if offer.pretraining == "none" else f"{offer.pretraining}; {OVERLAPS[offer.pretraining_overlap]}"
    oracle = "observed expression of the perturbed genes of held-out cells: `*`" if offer.oracle else "no"
    return (
        linked(plugin, offer.name), ", ".join(offer.tasks), offer.input, offer.information, oracle, overlap,
        offer.licence, files(offer) or "none",
    )  # fmt: skip


def linked(plugin: str, model: str) -> str:
    """Return the name of a model, with a link to its page or that of its plugin."""
    pages = [f"{model}.md", f"{plugin}.md", f"../{plugin}.md", f"../../plugins/{plugin}/README.md"]
    page = next((page for page in pages if (FOLDER / page).exists()), "")
    return f"[`{model}`]({page})" if page else f"`{model}`"


def files(offer: ModelOffer) -> str:
    """Return the weights and other files of a model, each with its size and licence."""
    return "<br>".join(
        f"`{file.filename}` ({', '.join(filter(None, (size(file.size_mb), f'licence {file.licence}')))})"
        for file in offer.weights
    )


def size(megabytes: float | None) -> str:
    """Return a size in words; empty if unknown."""
    if megabytes is None:
        return ""
    return f"{megabytes / 1000:.2f} GB" if megabytes >= 1000 else f"{max(megabytes, 0.01):.3g} MB"


def main() -> None:
    """Write the table into the page, or print it."""
    if sys.argv[1:] == ["--print"]:
        print(table())
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
