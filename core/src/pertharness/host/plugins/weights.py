"""Weights and side files that cards declare: their paths, their condition, and their download."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pertharness.contract.cards import DatasetOffer, EmbeddingOffer, ModelOffer, RemoteFile
from pertharness.contract.errors import FetchError, RecipeError
from pertharness.host.fetch import Place, Progress, fetch, place_of, steps_by_hand
from pertharness.host.fetch.checksums import check, recorded
from pertharness.host.fetch.licences import confirm, has_to_be_confirmed
from pertharness.host.plugins.registry import Offered, Registry, look_up
from pertharness.host.store.hashes import remembered_sha256
from pertharness.host.text.did_you_mean import expected

Condition = Literal["available", "missing", "damaged"]
WithFiles = Offered[ModelOffer] | Offered[EmbeddingOffer] | Offered[DatasetOffer]


@dataclass(frozen=True)
class Declared:
    """A file that a plugin declares.

    Attributes
    ----------
    offer
        Name by which a command finds one of the offers that need it.
    """

    plugin: str
    offer: str
    file: RemoteFile

    def place(self, folder: Path) -> Place:
        """Return the place of the file; offers of one plugin share their files."""
        return place_of(self.file, f"weights/{self.plugin}", folder, f"pertharness weights fetch {self.offer}")

    @property
    def title(self) -> str:
        """The file's name with its size."""
        size = "" if self.file.size_mb is None else f" ({self.file.size_mb:.3g} MB)"
        return f"{self.file.wanted!r}{size}"


@dataclass(frozen=True)
class Found:
    """The condition of a declared file.

    Attributes
    ----------
    reason
        Why it is missing or damaged, and what to do.
    """

    declared: Declared
    condition: Condition
    path: Path
    sha256: str = ""
    reason: str = ""

    def identity(self) -> str:
        """Return what enters a key: the sum of the file, even if it was removed, so that its records are found."""
        return self.sha256 or f"{self.condition}: {self.reason}"


class LicenceError(FetchError):
    """A file's licence restricts its use and has not been accepted."""


def declared_by(registry: Registry, offered: WithFiles) -> list[Declared]:
    """Return the files of one offer: of a model or an embedding its own, of a dataset the published side files."""
    groups: tuple[Mapping[str, WithFiles], ...] = (registry.models, registry.embeddings, registry.datasets)
    names = [name for offers in groups for name, other in offers.items() if other is offered]
    offer = offered.offer
    files = [file.source for file in offer.side_files] if isinstance(offer, DatasetOffer) else offer.weights
    return [Declared(offered.plugin.ref.name, names[0], file) for file in files if file is not None]


def all_declared(registry: Registry) -> list[Declared]:
    """Return every declared file once, by plugin and name."""
    offers: Sequence[WithFiles] = [
        *registry.models.values(), *registry.embeddings.values(), *registry.datasets.values(),
    ]  # fmt: skip
    return _once(file for offered in offers for file in declared_by(registry, offered))


def replaced_weights(offer: ModelOffer | EmbeddingOffer, params: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of an offer's weights in whose place parameters put files of the user's."""
    given = [names for name, names in offer.replaces_weights.items() if params.get(name)]
    return frozenset(name for names in given for name in names)


def has_other_weights(offer: ModelOffer | EmbeddingOffer, params: Mapping[str, Any]) -> bool:
    """Return whether parameters put files of the user's in the place of published weights."""
    return any(params.get(name) for name in offer.replaces_weights)


def declared_under(registry: Registry, name: str) -> list[Declared]:
    """Return the files of a model, an embedding, a dataset or a whole plugin.

    Raises
    ------
    RecipeError
        If none of these has that name.
    """
    files: list[Declared] = []
    meant: list[WithFiles | None] = [
        look_up(registry.models, name), look_up(registry.embeddings, name), look_up(registry.datasets, name),
    ]  # fmt: skip
    for offered in meant:
        files += declared_by(registry, offered) if offered is not None else []
    files += [file for file in all_declared(registry) if file.plugin == name]
    if not any(meant) and name not in registry.plugins:
        names = sorted({*registry.models, *registry.embeddings, *registry.datasets, *registry.plugins})
        raise RecipeError(f"there is no model, embedding, dataset or plugin {name!r}; {expected(name, names)}")
    return _once(files)


def _once(files: Iterable[Declared]) -> list[Declared]:
    first: dict[tuple[str, str], Declared] = {}
    for declared in files:
        first.setdefault((declared.plugin, declared.file.wanted), declared)
    return list(first.values())


def examine(declared: Declared, folder: Path, memory: Path) -> Found:
    """Return the condition of a declared file; fetch nothing.

    Parameters
    ----------
    declared
        The file.
    folder
        Folder of published files.
    memory
        Folder that remembers the sums of large files, so that untouched ones are not read each time.
    """
    place = declared.place(folder)
    if not place.wanted.is_file() and not place.download.is_file():
        entry = recorded(place.wanted, place.folder)
        how = steps_by_hand(place) if declared.file.by_hand else place.command
        reason = f"needs the file {declared.title}, which is not available: {how}"
        return Found(declared, "missing", place.wanted, entry.sha256 if entry else "", reason)
    if has_to_be_confirmed(declared.file, folder):
        return Found(declared, "missing", place.wanted, reason=_unconfirmed(declared, place))
    try:
        return Found(declared, "available", place.wanted, _checked(place, memory))
    except FetchError as error:
        return Found(declared, "damaged", place.wanted, reason=str(error))


def _unconfirmed(declared: Declared, place: Place) -> str:
    return (
        f"needs the file {declared.title}, whose licence {declared.file.licence!r} may restrict its use: "
        f"read it, then {place.command} --accept-licence"
    )


def _checked(place: Place, memory: Path) -> str:
    """Check a local file, unpacked if necessary, and return its sha256.

    Raises
    ------
    FetchError
        If it differs from the fetched file or from the sum on the card.
    """
    entry = recorded(place.wanted, place.folder) if place.wanted.is_file() else None
    if entry is None:  # put there by the user: recorded like a fetched file, without a network
        fetch(place.source, name=place.name, folder=place.folder, command=place.command)
        return remembered_sha256(place.wanted, memory)
    pinned = place.source.sha256 if place.wanted == place.download else None
    digest, size = remembered_sha256(place.wanted, memory), place.wanted.stat().st_size
    if size != entry.size and digest != pinned:
        raise FetchError(
            f"{place.wanted} is incomplete: it has {size} bytes, {entry.size} were recorded on {entry.date}; "
            f"`{place.command} --again` fetches it again"
        )
    check(digest, subject=str(place.wanted), name=place.name, command=place.command, pinned=pinned, entry=entry)
    return digest


def bring(
    declared: Declared, folder: Path, *, accept: bool = False, again: bool = False, progress: Progress | None = None
) -> Path:
    """Return the checked local file; fetch it if it is missing.

    Parameters
    ----------
    accept
        The user confirms a licence that restricts use; this is recorded.

    Raises
    ------
    LicenceError
        Its licence restricts use and is not confirmed.
    FetchError
        As `pertharness.host.fetch.fetch`.
    """
    place = declared.place(folder)
    if accept:
        confirm(declared.file, folder)
    elif has_to_be_confirmed(declared.file, folder):
        raise LicenceError(_unconfirmed(declared, place))
    return fetch(declared.file, name=place.name, folder=folder, progress=progress, again=again, command=place.command)
