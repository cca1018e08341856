"""What a job reads, stated once: an input provides the job's file, the part of the key, and the dependency."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pertharness.contract.jobs import REFERENCE, SLOT


@dataclass(frozen=True)
class Input:
    """Something that a job depends on: a file of another job's record, or a file outside of the store.

    Attributes
    ----------
    role
        Its name among the files of the job, as in `Job.inputs_by_role`: ``train``, ``weights/NAME``,
        ``reference NAME``, ``slot NAME``, ...
    record
        Key of the record that holds the file; None for a file outside of the store.
    file
        Where it is; None where it is not on this machine. A relative path starts at the folder in which the job works:
        its node's ``prepare`` writes it.
    sha256
        Of a file outside of the store: of its content, or of what it will be made of. Where there is neither, the
        reason why the file is not there.
    key_role
        Its name in the key, where that is not `role`. Files of one record share one.
    """

    role: str
    record: str | None
    file: Path | None
    sha256: str = ""
    key_role: str = ""

    @property
    def key_part(self) -> tuple[str, str]:
        """Its name in the key, and what enters the key: a key, or a sum."""
        return self.key_role or self.role, self.sha256 if self.record is None else self.record

    @property
    def is_checked(self) -> bool:
        """Whether its content must be what it was when the plan was made: records are checked by their status."""
        return self.record is None and self.file is not None and self.file.is_absolute()


def key_inputs(inputs: Iterable[Input]) -> dict[str, str]:
    """Return what enters the key of a job for its inputs.

    Raises
    ------
    ValueError
        If two inputs would enter under one name.
    """
    parts: dict[str, str] = {}
    for role, value in (each.key_part for each in inputs):
        if parts.setdefault(role, value) != value:
            raise ValueError(f"two inputs enter the key as {role!r}; this is a bug in pertharness")
    return parts


def job_fields(inputs: Iterable[Input], work: Callable[[], Path]) -> dict[str, dict[str, Path]]:
    """Return the fields of a job that name its files; `work` gives the folder in which the job works."""
    fields: dict[str, dict[str, Path]] = {"inputs": {}, "references": {}, "embeddings": {}}
    for each in inputs:
        if each.file is None:
            continue
        if each.role.startswith(REFERENCE):
            field, name = "references", each.role[len(REFERENCE) :]
        elif each.role.startswith(SLOT):
            field, name = "embeddings", each.role[len(SLOT) :]
        else:
            field, name = "inputs", each.role
        fields[field][name] = each.file if each.file.is_absolute() else work() / each.file
    return fields


def needs(inputs: Iterable[Input]) -> tuple[str, ...]:
    """Return the keys of the records that a job waits for, in the order of its inputs."""
    return tuple(dict.fromkeys(each.record for each in inputs if each.record is not None))


def sums(inputs: Iterable[Input]) -> dict[str, str]:
    """Return the sha256 of the files outside of the store, by role."""
    return {each.role: each.sha256 for each in inputs if each.is_checked}
