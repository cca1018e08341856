"""A scorer that subtracts the control mean in place, from what others score against."""

from pertharness import Card, MetricOffer, ScorerOffer, control_mean, hookimpl
from pertharness.contract.scores import COLUMNS

STATE = "invalid"
SAYS = ("hook score", "changed 'screen'", "screen = screen.copy()")


@hookimpl
def describe():
    metric = MetricOffer(id="mutates_screen", direction="lower", best=0.0)
    return Card(scorers=(ScorerOffer(name="mutates_screen", summary="Spoilt", metrics=(metric,)),))


@hookimpl
def score(screen, controls, prediction):
    import pandas as pd

    screen.X -= control_mean(controls)
    rows = [(label, "", "mutates_screen", "default", "", 0.0) for label in prediction.obs["perturbation"]]
    return pd.DataFrame(rows, columns=list(COLUMNS))
