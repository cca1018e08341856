"""Doses inside of labels: which drug ``Dasatinib_10uM`` and ``[('Dasatinib', 10.0, 'uM')]`` name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_NUMBER = r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_UNIT = r"(?:[fpnuµμm]?M|[pnuµμm]?mol(?:ar)?(?:/l)?|[pnuµμm]?g/?m?l|[pnuµμm]g|%|U/ml|IU/ml|Gy|mM)"
_AT_END = re.compile(rf"(?P<drug>.*[^\s_@(,:-])[\s_@(,:-]+{_NUMBER}[\s_]?{_UNIT}\)?", re.IGNORECASE)
_IN_TUPLE = re.compile(
    rf"""\[?\(\s*(?P<quote>['"])(?P<drug>.+)(?P=quote)\s*,\s*{_NUMBER}\s*,\s*(['"]){_UNIT}\3\s*,?\)\]?""", re.IGNORECASE
)


def drug_of(name: str) -> str | None:
    """Return the name of a drug without its dose; None where no dose with a unit stands in the name."""
    match = _IN_TUPLE.fullmatch(name) or _AT_END.fullmatch(name)
    return match["drug"].strip() if match else None


def drugs_of(names: Iterable[str]) -> dict[str, str]:
    """Return name -> drug of the names that have a dose, where a drug has several doses; empty where none has."""
    drugs = {name: drug for name in dict.fromkeys(names) if (drug := drug_of(name)) is not None}
    counts = Counter(drugs.values())
    return {name: drug for name, drug in drugs.items() if counts[drug] > 1}
