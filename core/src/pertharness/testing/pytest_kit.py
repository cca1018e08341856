"""The conformance kit under pytest: one test per check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pertharness.contract.errors import PertharnessError, Skip
from pertharness.contract.jobs import PluginRef
from pertharness.testing.checks import Check, card_checks, list_checks, run_check
from pertharness.testing.subject import Subject
from pertharness.testing.user_inputs import Allotted, UserInputs, allot


def conformance(
    module: str, *, xfail: Mapping[str, str] | None = None, params: Mapping[str, Any] | None = None,
    slots: Mapping[str, Path] | None = None, files: Mapping[str, Path] | None = None,
) -> Callable[[Check, Path, pytest.MonkeyPatch], None]:  # fmt: skip
    """Return a test with one case per check of a plugin: ``test_conformance = conformance("pertharness_NAME")``.

    Parameters
    ----------
    module
        Module of the plugin.
    xfail
        Id of a check, or a pattern such as ``"linear-*-shuffled_cells"`` -> reason why it fails. The check must fail.
    params
        Parameters that differ from the card's: ``"epochs"``, or ``"my_model.epochs"`` if several offers have it.
    slots
        Files of embeddings for a model's slots, ``"G"`` or ``"my_model.G"``: h5ad, or a table with labels in the first
        column.
    files
        Weights and side files by name, and source files by the offer's name.

    Raises
    ------
    ValueError
        If a pattern matches no check.
    RecipeError
        If a parameter, slot or file matches no offer, or more than one.
    """
    ref = PluginRef(name=module, module=module, version="0")
    try:
        card = Subject(ref).card()
    except PertharnessError:  # the checks of the card report the problem
        card = None
    checks = card_checks() if card is None else list_checks(card)
    allotted = {} if card is None else allot(card, UserInputs(params or {}, slots or {}, files or {}))
    for pattern in xfail or {}:
        if not any(fnmatchcase(check.id, pattern) for check in checks):
            raise ValueError(f"xfail: {pattern!r} fits no check; there are {', '.join(check.id for check in checks)}")
    cases = []
    for check in checks:
        reasons = [reason for pattern, reason in (xfail or {}).items() if fnmatchcase(check.id, pattern)]
        marks = [pytest.mark.xfail(reason=reasons[0], strict=True)] if reasons else []
        cases.append(pytest.param(check, id=check.id, marks=marks))

    @pytest.mark.parametrize("check", cases)
    def test_conformance(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        inputs = allotted.get((check.kind, check.offer), Allotted())
        try:
            run_check(check.id, ref, inputs.files, params=inputs.params, slots=inputs.slots, source=inputs.source)
        except Skip as skip:
            pytest.skip(str(skip))

    return test_conformance
