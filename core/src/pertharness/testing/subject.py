"""The plugin under test: its hooks are called as by a worker, and each call has its own folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pertharness.contract.cards import Card, DatasetOffer, EmbeddingOffer, ModelOffer
from pertharness.contract.errors import Skip
from pertharness.contract.jobs import Job, PluginRef
from pertharness.files.whole import canonical_json
from pertharness.worker.hooks import guarded_hooks, implemented, load_plugin
from pertharness.worker.refusals import Refuse, refusal_of

Value = TypeVar("Value")


@dataclass(frozen=True)
class Extras:
    """The user's inputs for the checks of an offer; hashable, so that checks can share cached results.

    Attributes
    ----------
    params
        Parameters that differ from the card's, as JSON.
    slots
        Files of embeddings for a model's slots, instead of planted ones.
    source
        Source file of a dataset or an embedding.
    files
        Available weights and side files by name.
    """

    params: str = "{}"
    slots: tuple[tuple[str, Path], ...] = ()
    source: Path | None = None
    files: tuple[tuple[str, Path], ...] = ()


def make_extras(
    *, params: Mapping[str, Any] | None = None, slots: Mapping[str, Path] | None = None, source: Path | None = None,
    files: Mapping[str, Path] | None = None,
) -> Extras:  # fmt: skip
    """Return the inputs for the checks of an offer."""
    pairs = (tuple(sorted((paths or {}).items())) for paths in (slots, files))
    return Extras(canonical_json(params or {}), next(pairs), source, next(pairs))


@dataclass(frozen=True)
class Subject:
    """A plugin under test, with the user's inputs for one of its offers."""

    ref: PluginRef
    extras: Extras = Extras()

    def job(self, offer: str = "") -> Job:
        """Return a job of the plugin, for the Guard."""
        return Job(key="check", stage="checks", plugin=self.ref, name=offer)

    def hook(self, name: str, offer: str = "", *, guarded: bool = True) -> Any:
        """Return one hook, wrapped by the Guard unless its contracts are checked one by one.

        Raises
        ------
        ContractError
            If the plugin lacks the hook, or has unknown hooks or arguments.
        """
        job = self.job(offer)
        return implemented(guarded_hooks(job, []) if guarded else load_plugin(job).hook, name, job)

    def files_of(self, offer: EmbeddingOffer | ModelOffer) -> dict[str, Path]:
        """Return the weights and side files of an offer, without those that a parameter replaces.

        Raises
        ------
        Skip
            If a required file is not available.
        """
        there = dict(self.extras.files)
        given = [names for param, names in offer.replaces_weights.items() if offer.params.get(param)]
        replaced = {name for names in given for name in names}
        declared = [file for file in offer.weights if file.wanted not in replaced]
        for file in declared:
            if not file.optional and file.wanted not in there:
                raise Skip(
                    f"needs the file {file.wanted!r}: pertharness weights fetch {offer.name}, or --file "
                    f"{file.wanted}=PATH"
                )
        return {file.wanted: there[file.wanted] for file in declared if file.wanted in there}

    def refusal(self, hook: str, offer: str) -> Refuse:
        """Return a function that makes the exceptions of one hook of an offer."""
        return refusal_of(self.ref.name, hook, offer)

    def source_of(self, offer: DatasetOffer | EmbeddingOffer) -> Path | None:
        """Return the source file of an offer; None if it needs none.

        Raises
        ------
        Skip
            If the offer needs a source file, and none was given.
        """
        fetched = offer.source if isinstance(offer, DatasetOffer) else None
        if self.extras.source is None and offer.takes_file:
            raise Skip(f"it takes a file: name one with --file {offer.name}=PATH")
        if self.extras.source is not None or fetched is None:
            return self.extras.source
        raise Skip(f"it reads {fetched.wanted!r}: pertharness data fetch {offer.name}, or --file {offer.name}=PATH")

    def card(self) -> Card:
        """Return the card of the plugin."""
        card: Card = self.hook("describe")()
        return card


class Once(Generic[Value]):
    """A result that several checks share: the first check computes it, and a failure is not repeated."""

    def __init__(self, make: Callable[[], Value], first: str) -> None:
        self._make, self._first = make, first
        self._made: list[Value] = []
        self._tried = False

    def __call__(self) -> Value:
        """Return the result.

        Raises
        ------
        Skip
            If an earlier attempt failed.
        """
        if not self._made:
            if self._tried:
                raise Skip(f"not tried, because {self._first!r} did not pass")
            self._tried = True
            self._made.append(self._make())
        return self._made[0]


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """Make a folder in the working directory, and change to it for the block."""
    before = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="check-", dir=before))
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


@contextlib.contextmanager
def private_folders(folder: Path) -> Iterator[dict[str, Path]]:
    """Set HOME and TMPDIR to new, empty folders for the block."""
    folders = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    before = {name: os.environ.get(name) for name in folders}
    for name, path in folders.items():
        path.mkdir()
        os.environ[name] = str(path)
    saved_tempdir, tempfile.tempdir = tempfile.tempdir, None
    try:
        yield folders
    finally:
        tempfile.tempdir = saved_tempdir
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
