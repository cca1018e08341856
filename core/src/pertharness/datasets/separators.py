"""Finds what joins the targets in the labels of a file, and asks where that is unclear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pertharness.contract.errors import ChoiceError
from pertharness.datasets.options import NONE

SEPARATORS = ("+", "||", "_", "|", ";", ",", "&")
RARE_SEPARATORS = ("/", ":", "__", "--")
"""Parts of names more often than between targets: they join them if all parts of all labels are known, else not."""
LAST_SEPARATORS = ("-", ".", " ")
"""Parts of most names: they join targets if nothing else does, and all parts of several labels are known."""
_FEWEST = 2
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


def quote(values: Iterable[object], most: int = 6) -> str:
    """Quote the first few of some values."""
    quoted = [repr(str(value) if isinstance(value, str) else value) for value in values]  # numpy's texts as texts
    return ", ".join(quoted[:most]) + (", ..." if len(quoted) > most else "") or "none"


def parts_of(label: str, separator: str | None) -> list[str]:
    """Return the parts of a label, white space at their ends left out."""
    return [part.strip() for part in label.split(separator)] if separator else [label.strip()]


def find_separator(
    labels: Sequence[str],
    is_known: Callable[[str], bool],
    is_name: Callable[[str], bool],
    chosen: str | None,
) -> str | None:
    """Return what joins the targets of some labels; None: nothing does.

    Parameters
    ----------
    labels
        Those of perturbations.
    is_known
        Whether a part of a label is a target or a control.
    is_name
        Whether a whole label is a gene, or a guide of one.
    chosen
        What the user says; None: it is to be found.

    Raises
    ------
    ChoiceError
        If it is unclear, with the flag that decides.
    """
    if chosen is not None:
        return None if chosen == NONE else chosen
    fitting: list[str] = []
    unclear: dict[str, list[str]] = {}
    for separator in (*SEPARATORS, *RARE_SEPARATORS):
        joined = [label for label in labels if separator in label and not is_name(label)]
        unknown = [label for label in joined if not all(map(is_known, parts_of(label, separator)))]
        if joined and (not unknown or separator == "+"):  # no gene name has a `+`
            _refuse_torn(joined, separator)
            fitting.append(separator)
        elif unknown and separator in SEPARATORS:
            unclear[separator] = unknown
    if len(fitting) > 1:
        raise ChoiceError(
            f"labels are joined in several ways: {quote(fitting)}; labels: {quote(labels)}; say what joins targets "
            f"with --separator (--separator {NONE}: none does), or correct what `pertharness data labels` writes and "
            "give it with --label-map"
        )
    if not fitting and not unclear:
        return _last_separator(labels, is_known, is_name)
    if not fitting:
        separator, unknown = next(iter(unclear.items()))
        raise ChoiceError(_unclear(separator, unknown))
    return fitting[0]


def _last_separator(
    labels: Sequence[str], is_known: Callable[[str], bool], is_name: Callable[[str], bool]
) -> str | None:
    """Return which of the signs that names have joins targets, as in ``KLF1-ctrl`` beside ``KLF1-CEBPE``."""
    for separator in LAST_SEPARATORS:
        joined = [label for label in labels if separator in label and not is_name(label)]
        is_joint = all(all(map(is_known, parts_of(label, separator))) for label in joined)
        if len(joined) >= _FEWEST and is_joint:
            return separator
    return None


def unknown_parts(labels: Iterable[str], separator: str | None, is_known: Callable[[str], bool]) -> list[str]:
    """Return the parts of joined labels that are not known, each once."""
    joined = (part for label in labels if separator and separator in label for part in parts_of(label, separator))
    return [part for part in dict.fromkeys(joined) if not is_known(part)]


def _refuse_torn(joined: Sequence[str], separator: str) -> None:
    """Refuse a separator that cuts names in two: brackets are left open, or nothing is left of a part."""
    torn = [label for label in joined if any(map(is_torn, parts_of(label, separator)))]
    if torn:
        raise ChoiceError(_unclear(separator, torn))


def is_torn(part: str) -> bool:
    """Return whether a part of a label is what is left of a name: nothing, or with a bracket that is not closed."""
    return not part or any(part.count(opening) != part.count(closing) for opening, closing in _BRACKETS)


def _unclear(separator: str, odd: Sequence[str]) -> str:
    return (
        f"it is unclear whether {separator!r} joins two targets in {quote(odd)}: not all parts are genes or "
        f"perturbed alone; say --separator {separator!s} if it does, --separator {NONE} if it belongs to the names; or "
        "correct what `pertharness data labels` writes and give it with --label-map"
    )
