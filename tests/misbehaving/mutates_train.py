"""Changes the data that it is given."""

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "invalid"
SAYS = ("changed", "train", "copy")


@hookimpl
def describe():
    return make_card("mutates_train")


@hookimpl
def fit(train):
    train.X[0, 0] += 1
    return train.X.mean(axis=0)
