"""A dataset that cannot be loaded."""

from pertharness import Card, DatasetOffer, hookimpl

STATE = "failed"
SAYS = ("OSError", "the tape is torn")


@hookimpl
def describe():
    return Card(datasets=(DatasetOffer(name="raises_in_load", summary="Raises"),))


@hookimpl
def load_dataset(name):
    raise OSError("the tape is torn")
