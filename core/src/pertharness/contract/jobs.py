"""The files of a job: ``job.json`` describes it, ``status.json`` its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.protocol import PROTOCOL
from pertharness.contract.stages import Stage as Stage

FORMAT = 1
OUT, SCRATCH, HOME = "out", "scratch", "home"
"""The folders of a job that its process may write: what it leaves, where it works, and what stands for a home."""
CLAIM, LOG = "result.json", "log.txt"
"""Files in `OUT`."""
WEIGHTS, REFERENCE, SLOT = "weights/", "reference ", "slot "
"""Before the name of a file, a dataset or a slot: its role among all that a job reads."""
ORACLE_ROLE, GENE_LIST = "oracle", "gene_list"
"""Roles of observed values of held-out cells, and of the genes that a model knows."""
State = Literal["done", "skipped", "failed", "invalid", "timeout", "crashed"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PluginRef(_Strict):
    """A plugin as a worker finds it: by module, never by entry point."""

    name: str
    module: str
    version: str


class Task(_Strict):
    """What a model may know of the task besides its data: names, nothing counted or derived from held-out cells."""

    dataset: str
    name: str
    """``double``, ``single`` or the recipe's own name for it."""
    split_kind: str
    split_seed: int
    scale: str = "log1p CP10k"
    modality: str | None = None
    context: str | None = None


class KeyParts(_Strict):
    """What enters the key of a job besides what its file says anyway."""

    version: int
    """Of the stage, in the code of the harness."""
    plugin: dict[str, str] = {}
    """Name, version, hash of its source and of the distributions under it; of the harness's own only the last."""
    inputs: dict[str, str] = {}
    """Role -> key of the record, or sha256 of the file."""


class Job(_Strict):
    """One call of a plugin's hooks; the folder of its file is where it works and leaves its artefacts."""

    format: int = FORMAT
    protocol: int = PROTOCOL
    key: str
    stage: Stage
    plugin: PluginRef
    name: str = ""
    params: dict[str, Any] = {}
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    inputs: dict[str, Path] = {}
    """Role -> file: ``source``, ``dataset``, ``split``, ``train``, ``val``, ``prediction``, ``weights/NAME``, ..."""
    references: dict[str, Path] = {}
    embeddings: dict[str, Path] = {}
    task: Task | None = None
    options: dict[str, Any] = {}
    """What the stage itself needs, e.g. ``input`` of a split job."""
    key_parts: KeyParts | None = None

    def inputs_by_role(self) -> dict[str, Path]:
        """Return all files that the job reads; the roles are those of `Status.inputs`."""
        references = {REFERENCE + name: path for name, path in self.references.items()}
        return {**self.inputs, **references, **{SLOT + name: path for name, path in self.embeddings.items()}}

    def files(self) -> dict[str, Path]:
        """Return the weights and side files by name, as a hook gets them."""
        return {role[len(WEIGHTS) :]: path for role, path in self.inputs.items() if role.startswith(WEIGHTS)}


def describe_invalid(error: ValueError) -> str:
    """Return what is wrong with a file of this module, or with a card.

    Of pydantic's own words only the place and the cause: those of pydantic 2.0 cut long values in the middle of a
    character and die of it.
    """
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else str(first["msg"])


class Phase(_Strict):
    """What one phase of a job cost: of the process and all its children."""

    name: str
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    peak_gpu_mb: float | None = None


class Claim(_Strict):
    """A worker's own report on its job; every file that it names is checked after its processes have ended."""

    state: State
    type: str = ""
    message: str = ""
    traceback: str = ""
    notes: list[str] = []
    unanswered: dict[str, str] = {}
    phases: list[Phase] = []
    artefacts: list[str] = []
    started: str = ""


class Artefact(_Strict):
    """A file of a record, as it was when its job ended."""

    size: int
    sha256: str
    identity: tuple[int, int, int, int] | None = None
    """Device, inode, and nanoseconds of the last change of content and of inode: while they stay, so does the sum."""


class Isolation(_Strict):
    """What kept a job's processes from everything that its files do not hold."""

    mechanism: Literal["landlock", "bwrap", "none"] = "none"
    abi: int | None = None
    """Of Landlock."""
    seccomp: bool = False
    """Whether sockets, shared memory of System V and extended attributes were closed, which Landlock leaves open."""
    partial: list[str] = []
    """Folders with data of the user's, of the store or of a run that lie beneath one that the job had to be given."""

    def text(self) -> str:
        """Return the isolation in one or two words, as tables show it."""
        return f"{self.mechanism} (partial)" if self.partial else self.mechanism


class Cost(_Strict):
    """What a job cost as a whole: of its process and all that it started, measured from outside."""

    wall_s: float
    cpu_s: float
    peak_rss_mb: float


class Status(_Strict):
    """How a job ended; a folder without this file is not a record."""

    format: int = FORMAT
    key: str
    state: State
    type: str = ""
    """Class of the exception, or what ended the worker."""
    message: str = ""
    traceback: str = ""
    log_tail: str = ""
    notes: list[str] = []
    unanswered: dict[str, str] = {}
    phases: list[Phase] = []
    cost: Cost | None = None
    isolation: Isolation | None = None
    """None where no process of a plugin was started."""
    inputs: dict[str, str] = {}
    """Role (``train``, ``reference NAME``, ``slot NAME``) -> sha256 of the file as it was read."""
    artefacts: dict[str, Artefact] = {}
    device: str = "cpu"
    started: str = ""
    finished: str = ""
    host: str = ""
