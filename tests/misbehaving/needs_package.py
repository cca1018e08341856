"""Imports a package that is not there."""

import no_such_package  # noqa: F401
from misbehaving_base import fit, make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "failed"
SAYS = ("no_such_package",)


@hookimpl
def describe():
    return make_card("needs_package")
