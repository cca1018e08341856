"""What the checks work on: a plugin's hooks, called as a worker calls them, each call in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pertharness.cards import Card, EmbeddingOffer, ModelOffer
from pertharness.errors import Skip
from pertharness.jobs import Job, PluginRef
from pertharness.worker.refusals import Refuse, refusal_of
from pertharness.worker.stages import guarded_hooks, implemented, load_plugin

Value = TypeVar("Value")


@dataclass(frozen=True)
class Subject:
    """A plugin under test, and those of its weights and side files that are there."""

    ref: PluginRef
    files: tuple[tuple[str, Path], ...] = ()

    def job(self, offer: str = "") -> Job:
        """Give a job of the plugin, as the Guard wants it."""
        return Job(key="check", stage="checks", plugin=self.ref, name=offer)

    def hook(self, name: str, offer: str = "", *, guarded: bool = True) -> Any:
        """Give one hook, inside the Guard unless its contracts are to be checked one by one.

        Raises
        ------
        ContractError
            If the plugin has no such hook, or hooks or arguments that the specs do not know.
        """
        job = self.job(offer)
        return implemented(guarded_hooks(job, []) if guarded else load_plugin(job).hook, name, job)

    def files_of(self, offer: EmbeddingOffer | ModelOffer) -> dict[str, Path]:
        """Give the weights and side files of an offer.

        Raises
        ------
        Skip
            If one that it cannot do without is not there.
        """
        there = dict(self.files)
        for file in offer.weights:
            if not file.optional and file.wanted not in there:
                raise Skip(f"needs the file {file.wanted!r}: pertharness weights fetch {offer.name}")
        return {file.wanted: there[file.wanted] for file in offer.weights if file.wanted in there}

    def refusal(self, hook: str, offer: str) -> Refuse:
        """Return what makes the exceptions of one hook of an offer."""
        return refusal_of(self.ref.name, hook, offer)

    def card(self) -> Card:
        """Give the card."""
        card: Card = self.hook("describe")()
        return card


class Once(Generic[Value]):
    """What several checks need: made by the first of them, and not tried again by the others where that failed."""

    def __init__(self, make: Callable[[], Value], first: str) -> None:
        self._make, self._first = make, first
        self._made: list[Value] = []
        self._tried = False

    def __call__(self) -> Value:
        """Give it.

        Raises
        ------
        Skip
            If it was tried before and failed.
        """
        if not self._made:
            if self._tried:
                raise Skip(f"not tried, because {self._first!r} did not pass")
            self._tried = True
            self._made.append(self._make())
        return self._made[0]


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """Make a folder below the working directory, and work in it for a while."""
    before = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="check-", dir=before))
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


@contextlib.contextmanager
def private_places(folder: Path) -> Iterator[dict[str, Path]]:
    """Let home folder and folder for temporary files be new, empty ones for a while."""
    places = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    before = {name: os.environ.get(name) for name in places}
    for name, path in places.items():
        path.mkdir()
        os.environ[name] = str(path)
    kept, tempfile.tempdir = tempfile.tempdir, None
    try:
        yield places
    finally:
        tempfile.tempdir = kept
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
