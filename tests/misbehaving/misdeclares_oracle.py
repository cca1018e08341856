"""Is to be given observed values of held-out cells, and says that it learns from training data alone."""

from misbehaving_base import fit, predict  # noqa: F401 - hooks
from pertharness import Card, ModelOffer, hookimpl

STATE = "failed"
SAYS = ("oracle='target_expression' and information='training'", "says both")


@hookimpl
def describe():
    offer = ModelOffer(
        name="misdeclares_oracle", summary="Spoilt", tasks=("double",), input="pseudobulk", information="training",
        oracle="target_expression",
    )  # fmt: skip
    return Card(models=(offer,))
