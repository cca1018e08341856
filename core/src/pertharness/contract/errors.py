"""The exceptions of pertharness: what a user or a plugin author is told, and the state that a record gets."""

from __future__ import annotations


class PertharnessError(Exception):
    """Tell a user what was wrong, with the offending value, what was expected and what to do."""


class DataError(PertharnessError):
    """A dataset is not what it has to be."""


class ChoiceError(DataError):
    """A file may be read in several ways, and the user has to say in which."""


class SplitError(PertharnessError):
    """A split cannot be made of, or used with, these perturbations."""


class RecipeError(PertharnessError):
    """A recipe or an option says something that cannot be carried out."""


class StoreError(PertharnessError):
    """A file of the store cannot be read or written."""


class FetchError(PertharnessError):
    """A file could not be brought from its source, or is not the one that was expected."""


class BuildError(PertharnessError):
    """A plugin's environment could not be built."""


class ContractError(PertharnessError):
    """A plugin broke a contract: the record becomes ``invalid``."""


class Skip(PertharnessError):
    """Raised by a plugin that cannot do a job here: the record becomes ``skipped``, with this reason."""
