"""Find the separator between targets in the labels of a file; raise an error if it is unclear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pertharness.contract.errors import ChoiceError
from pertharness.datasets.options import NONE

SEPARATORS = ("+", "||", "_", "|", ";", ",", "&")
RARE_SEPARATORS = ("/", ":", "__", "--")
"""Often parts of names; they are separators only if all parts of all labels are known."""
LAST_SEPARATORS = ("-", ".", " ")
"""Mostly parts of names; they are separators only if nothing else is, and all parts of several labels are known."""
_FEWEST = 2
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


def quote(values: Iterable[object], most: int = 6) -> str:
    """Return the first few values, quoted."""
    quoted = [repr(str(value) if isinstance(value, str) else value) for value in values]  # str() for numpy's texts
    return ", ".join(quoted[:most]) + (", ..." if len(quoted) > most else "") or "none"


def parts_of(label: str, separator: str | None) -> list[str]:
    """Return the stripped parts of a label."""
    return [part.strip() for part in label.split(separator)] if separator else [label.strip()]


def find_separator(
    labels: Sequence[str],
    is_known: Callable[[str], bool],
    is_name: Callable[[str], bool],
    chosen: str | None,
) -> str | None:
    """Return the separator between the targets of labels; None if there is none.

    Parameters
    ----------
    labels
        Labels of perturbations.
    is_known
        Function that returns whether a part of a label is a target or a control.
    is_name
        Function that returns whether a whole label is a gene or a guide of one.
    chosen
        Separator given by the user; None if it is to be detected.

    Raises
    ------
    ChoiceError
        If the separator is unclear; the message names the flag to use.
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
            f"labels are joined in several ways: {quote(fitting)}; labels: {quote(labels)}; choose the separator "
            f"with --separator (--separator {NONE}: there is none), or correct the output of `pertharness data labels` "
            "and pass it with --label-map"
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
    """Return the separator among `LAST_SEPARATORS`, as in ``KLF1-ctrl`` and ``KLF1-CEBPE``; None if there is none."""
    for separator in LAST_SEPARATORS:
        joined = [label for label in labels if separator in label and not is_name(label)]
        is_joint = all(all(map(is_known, parts_of(label, separator))) for label in joined)
        if len(joined) >= _FEWEST and is_joint:
            return separator
    return None


def unknown_parts(labels: Iterable[str], separator: str | None, is_known: Callable[[str], bool]) -> list[str]:
    """Return the unknown parts of joined labels, without repeats."""
    joined = (part for label in labels if separator and separator in label for part in parts_of(label, separator))
    return [part for part in dict.fromkeys(joined) if not is_known(part)]


def _refuse_torn(joined: Sequence[str], separator: str) -> None:
    """Raise an error for a separator that splits names: a part is empty, or has an unbalanced bracket."""
    torn = [label for label in joined if any(map(is_torn, parts_of(label, separator)))]
    if torn:
        raise ChoiceError(_unclear(separator, torn))


def is_torn(part: str) -> bool:
    """Return whether a part of a label is only a piece of a name: empty, or with an unbalanced bracket."""
    return not part or any(part.count(opening) != part.count(closing) for opening, closing in _BRACKETS)


def _unclear(separator: str, odd: Sequence[str]) -> str:
    return (
        f"it is unclear whether {separator!r} joins two targets in {quote(odd)}: not all parts are genes or "
        f"perturbed alone; set --separator {separator!s} if it does, --separator {NONE} if it belongs to the names; or "
        "correct the output of `pertharness data labels` and pass it with --label-map"
    )
