"""The exceptions of pertharness, and the state that each gives to a record."""

from __future__ import annotations


class PertharnessError(Exception):
    """Base of all errors that are shown to a user.

    The message names what was wrong, the offending value, what was expected, and what to do.
    """


class DataError(PertharnessError):
    """A dataset does not have the required form."""


class ChoiceError(DataError):
    """A file can be read in several ways, and the user has to choose one."""


class SplitError(PertharnessError):
    """A split cannot be made from these perturbations, or does not fit them."""


class RecipeError(PertharnessError):
    """A recipe or an option asks for something that cannot be done."""


class StoreError(PertharnessError):
    """A file of the store cannot be read or written."""


class FetchError(PertharnessError):
    """A file could not be fetched, or is not the expected one."""


class BuildError(PertharnessError):
    """A plugin's environment could not be built."""


class ContractError(PertharnessError):
    """A plugin broke a contract; the record becomes ``invalid``."""


class Skip(PertharnessError):
    """A plugin cannot do a job here; the record becomes ``skipped``, with this reason."""
