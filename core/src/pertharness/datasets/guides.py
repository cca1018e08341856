"""Find the gene in names of guides such as ``sgKLF1_1``, with the help of the genes of the file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_PREFIX = re.compile(r"(?:sgRNA|gRNA|crRNA|shRNA|guide|sg|sh|cr|g)[-_. :]?")
# Kinds of suffixes after the gene in a guide's name -> pattern.
_SUFFIXES: Mapping[str, re.Pattern[str]] = MappingProxyType({
    "number": re.compile(
        r"(?:[-_.#: ]+\(?(?:(?:sgrna|grna|guide|sg|g|sh|cr|i)[-_. ]?)?|(?-i:sgRNA|gRNA|guide|sg|g)[-_. ]?)\d{1,5}\)?$",
        re.IGNORECASE,
    ),
    "letter": re.compile(r"[-_.][A-Za-z]$"),
    "sequence": re.compile(r"[-_.: ][ACGT]{15,}$", re.IGNORECASE),
    "position": re.compile(r"_(?:-|plus)_\d+(?:\.\d+)?(?:-P\d(?:P\d)?)?$"),  # KLF1_-_12996209.23-P1P2
    "promoter": re.compile(r"[-_.]P\d(?:P\d)?$"),
    "plasmid": re.compile(r"_p[A-Z]{2,3}\d+$"),
})  # fmt: skip
_GUIDE_NUMBER = re.compile(r"(?:g|sg|guide)?\d{1,3}")
_PIECES = re.compile(r"(\s*(?:\|\||[+|;,&])\s*)")
_FIRST_TOKEN = re.compile(r"[A-Za-z0-9]+(?:[-_.: ]|__+)")
_LAST_TOKEN = re.compile(r"[-_. :][A-Za-z][A-Za-z0-9]*$")
_COMMON = 0.9
"""Smallest share of names with a prefix or suffix of the whole library."""
_FEWEST = 3
"""Fewest names, or genes of guides, from which a pattern is detected."""


@dataclass(frozen=True)
class Affixes:
    """The parts of labels before and after the genes.

    Attributes
    ----------
    prefix, suffix
        Common to the whole library: ``Tcrlibrary_``, ``_KO``; empty if there is none.
    shapes
        Kinds of guide names that most names have, see `readings`.
    """

    prefix: str = ""
    suffix: str = ""
    shapes: frozenset[tuple[bool, str]] = field(default_factory=frozenset)

    def bare(self, label: str) -> str:
        """Return a label without the prefix and suffix of the library."""
        pieces = _PIECES.split(label)
        return "".join(piece if i % 2 else self._bare_piece(piece) for i, piece in enumerate(pieces))

    def _bare_piece(self, piece: str) -> str:
        inner = piece.removeprefix(self.prefix) if self.prefix else piece
        inner = inner.removesuffix(self.suffix) if self.suffix else inner
        return inner or piece

    def gene_of(self, name: str, genes: Container[str]) -> str | None:
        """Return the gene in a guide's name; None if the name is itself a gene, or has no gene."""
        if name in genes:
            return None
        fitting = (rest for shape, rest in readings(name) if shape in self.shapes and rest in genes)
        return max(fitting, key=len, default=None)

    def stem_of(self, name: str) -> str | None:
        """Return the common part of the names of one gene's guides, even if the file lacks the gene."""
        return max((rest for shape, rest in readings(name) if shape in self.shapes), key=len, default=None)


def without_strand(label: str) -> str:
    """Return a label with a ``+`` that means the strand of a guide replaced: ``KLF1_plus_23``."""
    return re.sub(r"_\+_(?=\d)", "_plus_", label)


def part_guides(label: str, is_name: Callable[[str], bool]) -> str:
    """Return ``KLF1_1_CEBPE_2`` as ``KLF1_1+CEBPE_2``; labels without alternating names and numbers do not change."""
    tokens = label.split("_")
    names, numbers = tokens[::2], tokens[1::2]
    if len(names) < 2 or len(names) != len(numbers) or not all(map(_GUIDE_NUMBER.fullmatch, numbers)):
        return label
    return "+".join(map("_".join, zip(names, numbers, strict=True))) if all(map(is_name, names)) else label


def readings(name: str) -> Iterator[tuple[tuple[bool, str], str]]:
    """Yield the ways to read a name as that of a guide: (whether it has a prefix, kind of suffix), and the rest."""
    prefix = _PREFIX.match(name)
    starts = [(False, 0)] + ([(True, prefix.end())] if prefix else [])
    ends = [("", len(name))] + [
        (kind, at.start()) for kind, pattern in _SUFFIXES.items() if (at := pattern.search(name))
    ]
    for has_prefix, start in starts:
        for kind, end in ends:
            if (has_prefix or kind) and start < end:
                yield (has_prefix, kind), name[start:end]


def is_guide(name: str, genes: Container[str]) -> bool:
    """Return whether a name is not a gene, but may be a guide of a gene."""
    return name not in genes and any(rest in genes for _, rest in readings(name))


def find_affixes(labels: Iterable[str], genes: Container[str]) -> Affixes:
    """Return the prefix and suffix of the whole library, if most names are genes or guides without them."""
    names = list(dict.fromkeys(piece for label in labels for piece in _PIECES.split(label)[::2] if piece))
    prefix = _common(names, _FIRST_TOKEN, genes)
    inner = [name.removeprefix(prefix) for name in names]
    suffix = _common(inner, _LAST_TOKEN, genes)
    rest = [name.removesuffix(suffix) if suffix else name for name in inner]
    if not (prefix or suffix) or sum(name in genes or is_guide(name, genes) for name in rest) * 2 <= len(names):
        return Affixes()
    return Affixes(prefix, suffix)


def _common(names: list[str], token: re.Pattern[str], genes: Container[str]) -> str:
    """Return the first or last token that nearly all names have; empty if there is none, or it is a name itself."""
    if len(names) < _FEWEST or sum(name in genes for name in names) * 2 > len(names):
        return ""
    look_up = token.search if token is _LAST_TOKEN else token.match
    tokens = Counter(match.group() for name in names if (match := look_up(name)))
    if not tokens:
        return ""
    text, count = tokens.most_common(1)[0]
    word = text.strip("-_. :")
    return "" if count < _COMMON * len(names) or word in genes or word in names or word.isdigit() else text


def find_shapes(names: Iterable[str], genes: Container[str]) -> frozenset[tuple[bool, str]]:
    """Return the kinds of guide names that most names have: the name is not a gene, but its rest is."""
    distinct = list(dict.fromkeys(names))
    fitting = Counter(
        shape for name in distinct if name not in genes for shape, rest in readings(name) if rest in genes
    )
    return frozenset(shape for shape, count in fitting.items() if count * 2 > len(distinct))


def find_syntactic_shapes(names: Iterable[str], genes: Container[str]) -> frozenset[tuple[bool, str]]:
    """Return the kinds of guide names that most names may have, whatever their rest is."""
    distinct = list(dict.fromkeys(names))
    fitting = Counter(shape for name in distinct if name not in genes for shape, _ in readings(name))
    return frozenset(shape for shape, count in fitting.items() if count * 2 > len(distinct))


def find_stems(names: Iterable[str], genes: Container[str]) -> frozenset[tuple[bool, str]]:
    """Return the kinds of guide names that most names seem to have if the file has none of their genes.

    This is so if most names end in a separator and a number up to 99, and most of the rests occur more than once.
    """
    distinct = list(dict.fromkeys(names))
    stems: dict[tuple[bool, str], list[str]] = {}
    for name in distinct:
        for shape, rest in readings(name) if name not in genes else ():
            is_numbered = re.search(r"\D\d{1,2}\)?$", name) and not re.fullmatch(r"(?:chr)?[\dXYM]+", rest)
            if shape == (False, "number") and is_numbered:
                stems.setdefault(shape, []).append(rest)
    shapes = []
    for shape, rests in stems.items():
        repeated = Counter(rests)
        of_several = [rest for rest, count in repeated.items() if count > 1]
        shared = sum(repeated[rest] for rest in of_several)
        if len(rests) * 2 > len(distinct) and shared * 2 > len(distinct) and len(of_several) >= _FEWEST:
            shapes.append(shape)
    return frozenset(shapes)
