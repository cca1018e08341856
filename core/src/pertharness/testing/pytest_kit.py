"""The conformance kit under pytest: one test per check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pertharness.errors import PertharnessError, Skip
from pertharness.jobs import PluginRef
from pertharness.testing.checks import Check, card_checks, list_checks, run_check
from pertharness.testing.subject import Subject


def conformance(
    module: str, *, xfail: Mapping[str, str] | None = None
) -> Callable[[Check, Path, pytest.MonkeyPatch], None]:
    """Give a test, parametrised with every check of a plugin: ``test_conformance = conformance("pertharness_NAME")``.

    Parameters
    ----------
    module
        Module of the plugin.
    xfail
        Id of a check, or a pattern such as ``"linear-*-shuffled_cells"`` -> why it fails. Such a check has to fail.

    Raises
    ------
    ValueError
        If a pattern fits no check.
    """
    ref = PluginRef(name=module, module=module, version="0")
    try:
        checks = list_checks(Subject(ref).card())
    except PertharnessError:  # the checks of the card say what is wrong with it
        checks = card_checks()
    for pattern in xfail or {}:
        if not any(fnmatchcase(check.id, pattern) for check in checks):
            raise ValueError(f"xfail: {pattern!r} fits no check; there are {', '.join(check.id for check in checks)}")
    params = []
    for check in checks:
        reasons = [reason for pattern, reason in (xfail or {}).items() if fnmatchcase(check.id, pattern)]
        marks = [pytest.mark.xfail(reason=reasons[0], strict=True)] if reasons else []
        params.append(pytest.param(check, id=check.id, marks=marks))

    @pytest.mark.parametrize("check", params)
    def test_conformance(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        try:
            run_check(check.id, ref)
        except Skip as skip:
            pytest.skip(str(skip))

    return test_conformance
