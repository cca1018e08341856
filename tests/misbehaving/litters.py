"""Leaves files about in its working directory."""

from pathlib import Path

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "done"
SAYS = ()


@hookimpl
def describe():
    return make_card("litters")


@hookimpl
def fit(train):
    for number in range(100):
        Path(f"rubbish{number}.bin").write_bytes(bytes(1000))
    return train.X.mean(axis=0)
