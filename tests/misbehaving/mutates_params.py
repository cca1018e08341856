"""A dataset that changes its parameters."""

from pertharness import Card, DatasetOffer, hookimpl

STATE = "invalid"
SAYS = ("hook load_dataset", "changed 'params'", "params = params.copy()")


@hookimpl
def describe():
    return Card(datasets=(DatasetOffer(name="mutates_params", summary="Spoilt", params={"seed": 1}),))


@hookimpl
def load_dataset(params):
    from pertharness.testing import planted_cells

    return planted_cells(seed=params.pop("seed"))
