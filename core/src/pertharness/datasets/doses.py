"""Find doses and times in labels, such as ``Dasatinib_10uM`` and ``[('Dasatinib', 10.0, 'uM')]``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_NUMBER = r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_UNIT = (
    r"(?:[fpnuµμm]?M|[pnuµμm]?mol(?:ar)?(?:/l)?|[pnuµμm]?g/?m?l|[pnuµμm]g|%|U/ml|IU/ml|Gy|mM|min|h|hrs?|hours?|d|days?)"
)
_AT_END = re.compile(rf"(?P<drug>.*[^\s_@(,:-])[\s_@(,:-]+{_NUMBER}[\s_]?{_UNIT}\)?", re.IGNORECASE)
_IN_TUPLE = re.compile(
    rf"""\[?\(\s*(?P<quote>['"])(?P<drug>.+)(?P=quote)\s*,\s*{_NUMBER}\s*,\s*(['"]){_UNIT}\3\s*,?\)\]?""", re.IGNORECASE
)


def drug_of(name: str) -> str | None:
    """Return the name of a drug or gene without its dose or time; None if the name has none with a unit."""
    match = _IN_TUPLE.fullmatch(name) or _AT_END.fullmatch(name)
    return match["drug"].strip() if match else None


def drugs_of(names: Iterable[str]) -> dict[str, str]:
    """Return a mapping of names with a dose to their drugs, for drugs with several doses."""
    drugs = {name: drug for name in dict.fromkeys(names) if (drug := drug_of(name)) is not None}
    counts = Counter(drugs.values())
    return {name: drug for name, drug in drugs.items() if counts[drug] > 1}
