"""Spellings of control cells, and of cells with unknown perturbations, in files."""

from __future__ import annotations

import re

CONTROL_WORDS = frozenset(
    {"ctrl", "control", "controls", "nontargeting", "nontargetingcontrol", "nontarget", "nt", "ntc", "safetargeting",
     "safeharbor", "negctrl", "negativecontrol", "scramble", "scrambled", "unperturbed"}
)  # fmt: skip
"""Names of controls in published screens, in lower case and without ``-``, ``_`` and spaces."""
JOINTS = ("+", "||", "_", "|", ";", ",", "&")
"""Separators between the guides of a control: ``NT|NT``."""
_NO_PERTURBATION = frozenset(
    {"", "nan", "none", "na", "n/a", "<na>", "#n/a", "null", "nil", "multiplet", "multiplets", "doublet", "doublets",
     "multiple", "multi", "unassigned", "notassigned", "unknown", "ambiguous", "negative", "undetermined", "undefined",
     "unmapped", "unidentified", "unclassified", "noguide", "nogrna", "nosgrna", "noguides", "noassignment", "nocall",
     "notdetected", "lowquality", "filtered", "discarded", "unlabeled", "unlabelled", "missing", "debris",
     "emptydroplet", "?", "??", "."}
)  # fmt: skip
"""Texts for unknown perturbations, in lower case and without ``-``, ``_`` and spaces."""
_NAMES = (
    "ctrl", "ctl", "control", "controls", "non-?targett?(?:ing|ed)?", "no-?target(?:ing)?", "nt", "ntc",
    "nt-?(?:ctrl|ctl|control)s?", "neg(?:ative)?-?(?:ctrl|ctl|control)s?", "safe-?targeting", "safe-?harbou?r", "safe",
    "scrambled?", "unperturbed", "(?:one-)?inter-?genic(?:-site)?", "non-?gen(?:e|ic)(?:-?site)?", "no-site",
    "non-?cut(?:ting|ter)", "random-?(?:guide|sequence)",
)  # fmt: skip
_SUBSTITUTES = (
    "dmso", "vehicle", "mock", "pbs", "wt", "wild-?type", "parental", "untreated", "untransduced", "uninfected",
    "untransfected", "saline", "aavs1", "rosa26", "lacz", "e?gfp", "rfp", "bfp", "mcherry", "dsred",
    "(?:firefly-|renilla-)?luc(?:iferase)?", "empty(?:-?vector)?", "ev",
)  # fmt: skip
_PREFIX = r"(?:(?:sgrna|grna|shrna|guide|sg|sh|p)-?)?"
_WORDS = "(?:-?(?:ctrl|ctl|control|human|mouse|hs|mm|guide|grna|sgrna|rna|sequence|seq|neg|negative|cells?|gene|tf))*"
_NUMBER = r"(?:-?(?:g|sg|grna|guide)?-?\d+)*(?:-[a-z]|-[acgt]{15,})?"
_NUMBER_APART = r"(?:-(?:g|sg|grna|guide)?-?\d+)*(?:-[a-z]|-[acgt]{15,})?"  # WT1 is a gene
_CONTROL = re.compile(f"{_PREFIX}(?:{'|'.join(_NAMES)}){_WORDS}{_NUMBER}")
_SUBSTITUTE = re.compile(f"{_PREFIX}(?:{'|'.join(_SUBSTITUTES)}){_WORDS}{_NUMBER_APART}")
_GUIDE_NUMBER = re.compile(r"(?<=[A-Za-z])[-_.](?:g|sg)?\d{1,5}(?=[-_+|;,&]|$)")
_DOSE_WORDS = frozenset({"dmso", "tf", "um", "nm", "mm", "ug", "ml", "vehicle", "control", "ctrl"})


def is_control_word(text: str) -> bool:
    """Return whether a text is a plain name of a control, see `CONTROL_WORDS`."""
    return "".join(letter for letter in text.lower() if letter not in "-_ ") in CONTROL_WORDS


def is_control(text: str) -> bool:
    """Return whether a text looks like a control: ``ctrl``, ``NTC_1``, ``sgNT``, ``INTERGENIC1144056``."""
    return is_control_word(text) or _CONTROL.fullmatch(_dashed(text)) is not None


def is_control_label(label: str) -> bool:
    """Return whether a label looks like a control, or like several joined ones: ``NT|NT``, ``NTC_1_NTC_2``."""
    if is_control(label):
        return True
    unnumbered = _GUIDE_NUMBER.sub("", label)
    if unnumbered != label and is_control_label(unnumbered):
        return True
    pieces = [[piece for piece in label.split(joint) if piece] for joint in JOINTS if joint in label]
    return any(parts and all(map(is_control, parts)) for parts in pieces)


def is_substitute(label: str) -> bool:
    """Return whether a label may serve as control if there is no other: ``DMSO``, ``AAVS1``, ``GFP``.

    If there are other controls, these labels may be perturbations.
    """
    if _SUBSTITUTE.fullmatch(_dashed(label)) is not None:
        return True
    words = re.findall(r"[a-z]+", label.lower())  # a drug with its dose, such as ``[('DMSO_TF', 0.0, 'uM')]``
    return "dmso" in words and set(words) <= _DOSE_WORDS


def is_no_perturbation(text: str) -> bool:
    """Return whether a text means that the perturbation is unknown: ``nan``, ``multiplet``, ``unassigned``."""
    bare = "".join(letter for letter in text.lower() if letter not in "-_ ")
    return bare in _NO_PERTURBATION


def _dashed(text: str) -> str:
    """Return a text in lower case, with its words separated by ``-``."""
    return re.sub(r"[-_ ./:#]+", "-", text.lower()).strip("-")
