"""Starts children that stay."""

import subprocess

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "done"
SAYS = ()


@hookimpl
def describe():
    return make_card("forks")


@hookimpl
def fit(train):
    for _ in range(2):
        subprocess.Popen(["sleep", "3603"], start_new_session=True)
    return train.X.mean(axis=0)
