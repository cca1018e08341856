"""Checks of a plugin's card."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pertharness.contract.cards import Card
from pertharness.contract.errors import ContractError
from pertharness.files.whole import canonical_json
from pertharness.testing.declared import check_imports_declared
from pertharness.testing.subject import Subject

HEAVY = ("anndata", "jax", "matplotlib", "scanpy", "scvi", "sklearn", "tensorflow", "torch", "transformers")
"""Packages that take a second or more to import, and are not needed for a card."""
SLOWEST_S = 20.0
"""Time limit for a card: generous, so that a slow disk passes, but loading a model does not."""
HOOKS = {"datasets": ("load_dataset",), "embeddings": ("embed",), "models": ("fit", "predict"), "scorers": ("score",)}
"""Part of the card -> hooks that its offers require."""


def check_describe(subject: Subject) -> None:
    """`describe` returns a card with unique names and a supported hook protocol."""
    card = subject.card()
    if not any(getattr(card, kind) for kind in (*HOOKS, "recipes")):
        raise ContractError(f"the card offers nothing; expected one or more of {', '.join(HOOKS)}, recipes")
    for offer in card.recipes:
        package = importlib.resources.files(subject.ref.module.partition(".")[0])
        for file in filter(None, (*offer.recipes.values(), offer.numbers)):
            if not package.joinpath(file).is_file():
                raise ContractError(f"the card names {file!r} of {offer.name!r}, which is no file in {package}")


def check_arguments(subject: Subject) -> None:
    """All hooks and their arguments are in the hook specification, and every offer has its hooks."""
    card = subject.card()
    for kind, hooks in HOOKS.items():
        for offer in getattr(card, kind)[:1]:
            for hook in hooks:
                subject.hook(hook, offer.name)
    for dataset in card.datasets:
        if any(file.source is None for file in dataset.side_files):
            subject.hook("make_side_file", dataset.name)


def check_params(subject: Subject) -> None:
    """The card and its parameters can be written to JSON and read back unchanged."""
    card = subject.card()
    for kind in HOOKS:
        for offer in getattr(card, kind):
            try:
                back = json.loads(canonical_json(offer.model_dump(mode="json").get("params", {})))
            except (TypeError, ValueError) as error:
                raise ContractError(
                    f"params of {offer.name!r} cannot be written as JSON: {error}; use plain values"
                ) from None
            if back != offer.model_dump().get("params", {}):
                raise ContractError(
                    f"params of {offer.name!r} change in JSON: {offer.params!r} comes back as {back!r}; "
                    "use texts, numbers, booleans, lists and None"
                )
    if Card.model_validate_json(card.model_dump_json()) != card:
        raise ContractError("the card comes back changed from JSON; use plain values")


def check_light(subject: Subject) -> None:
    """The plugin and its card load quickly, without importing heavy packages."""
    code = (
        f"import importlib, json, sys; sys.path[:] = {sys.path!r}; "
        f"importlib.import_module({subject.ref.module!r}).describe(); "
        f"print('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd(), check=False)
    took = time.monotonic() - start
    if done.returncode:
        raise ContractError(f"describe fails in an interpreter of its own: {done.stderr.strip()[-500:]}")
    heavy = done.stdout.rsplit("HEAVY", 1)[-1].split()
    if heavy:
        raise ContractError(
            f"importing the plugin imports {', '.join(heavy)}; import it inside the functions that use it"
        )
    if took > SLOWEST_S:
        raise ContractError(f"import and describe took {took:.1f} s; do what takes time inside the other hooks")


def check_imports(subject: Subject) -> None:
    """Everything that the plugin's files import is declared in its metadata, so that its environment has it."""
    check_imports_declared(subject.ref.module)


CARD_CHECKS: dict[str, Callable[[Subject], None]] = {
    "describe": check_describe, "arguments": check_arguments, "params": check_params, "light": check_light,
    "imports": check_imports,
}  # fmt: skip
