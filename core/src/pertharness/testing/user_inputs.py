"""Assign the user's parameters, slots and files for checks to the offers of a plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pertharness.contract.cards import Card, DatasetOffer, EmbeddingOffer, ModelOffer, ScorerOffer
from pertharness.contract.errors import RecipeError

AnyOffer = DatasetOffer | EmbeddingOffer | ModelOffer | ScorerOffer
KINDS = ("datasets", "embeddings", "models", "scorers")


@dataclass(frozen=True)
class UserInputs:
    """The user's inputs for checks, by name.

    Attributes
    ----------
    params
        ``NAME``, or ``OFFER.NAME`` if several offers have it -> value.
    slots
        ``SLOT`` or ``OFFER.SLOT`` of a model -> file of an embedding.
    files
        Name of weights, of a side file, or of an offer with a source file -> path.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    slots: Mapping[str, Path] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass
class Allotted:
    """The inputs of one offer."""

    params: dict[str, Any] = field(default_factory=dict)
    slots: dict[str, Path] = field(default_factory=dict)
    source: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)


def allot(card: Card, inputs: UserInputs) -> dict[tuple[str, str], Allotted]:
    """Return the inputs of each offer, by kind (``models``) and name.

    Raises
    ------
    RecipeError
        If a name matches no offer, or more than one, or if a file does not exist.
    """
    offers: list[tuple[str, AnyOffer]] = [(kind, offer) for kind in KINDS for offer in getattr(card, kind)]
    allotted = {(kind, offer.name): Allotted() for kind, offer in offers}
    for text, value in inputs.params.items():
        for kind, offer, name in _owners(text, "--param", offers, lambda offer: offer.params):
            allotted[kind, offer.name].params[name] = _placed(offer, name, value)
    for text, path in inputs.slots.items():
        for kind, offer, name in _owners(text, "--slot", offers, lambda offer: getattr(offer, "slots", {})):
            allotted[kind, offer.name].slots[name] = _existing(path, f"--slot {text}")
    for name, path in inputs.files.items():
        _allot_file(name, _existing(path, f"--file {name}"), offers, allotted)
    return allotted


def _owners(
    text: str, option: str, offers: list[tuple[str, AnyOffer]], names_of: Callable[[AnyOffer], Iterable[str]]
) -> list[tuple[str, AnyOffer, str]]:
    """Return the offers that match a name such as ``k`` or ``linear.k``, with the name without the offer."""
    owner, _, name = text.rpartition(".")
    fit = [(kind, offer, name) for kind, offer in offers if name in names_of(offer) and owner in ("", offer.name)]
    if not fit:
        available = sorted({f"{offer.name}.{name}" for _, offer in offers for name in names_of(offer)})
        raise RecipeError(f"{option} {text}: no offer has it; expected one of {', '.join(available) or 'none'}")
    owners = sorted({offer.name for _, offer, _ in fit})
    if len(owners) > 1:
        raise RecipeError(
            f"{option} {text}: several offers have it; expected one of "
            f"{', '.join(f'{owner}.{name}' for owner in owners)}"
        )
    return fit


def _allot_file(
    name: str, path: Path, offers: list[tuple[str, AnyOffer]], allotted: Mapping[tuple[str, str], Allotted]
) -> None:
    """Assign a file to the offers that declare it, or to the offer that has it as source."""
    is_used = False
    for kind, offer in offers:
        if name in [file.wanted for file in getattr(offer, "weights", ())]:
            allotted[kind, offer.name].files[name] = path
            is_used = True
        elif name == offer.name and _made_of_a_file(offer):
            allotted[kind, offer.name].source = path
            is_used = True
    if not is_used:
        available = {file.wanted for _, offer in offers for file in getattr(offer, "weights", ())}
        available |= {offer.name for _, offer in offers if _made_of_a_file(offer)}
        raise RecipeError(
            f"--file {name}: no offer declares, or is made of, a file of that name; "
            f"expected one of {', '.join(sorted(available)) or 'none'}"
        )


def _made_of_a_file(offer: AnyOffer) -> bool:
    """Return whether an offer has a source file, from the user or by download."""
    return bool(getattr(offer, "takes_file", False) or getattr(offer, "source", None))


def _placed(offer: AnyOffer, name: str, value: Any) -> Any:
    """Return the value of a parameter, with an absolute path if it is a file."""
    if name not in getattr(offer, "file_params", ()) or not value:
        return value
    return str(_existing(Path(str(value)), f"--param {name}"))


def _existing(path: Path, where: str) -> Path:
    """Return the absolute path of a file; raise an error if it does not exist."""
    absolute = path.expanduser().absolute()
    if not absolute.is_file():
        problem = "is a folder" if absolute.is_dir() else "does not exist"
        raise RecipeError(f"{where}: {str(path)!r} {problem}; expected a file")
    return absolute
