"""A scorer that raises."""

from pertharness import Card, MetricOffer, ScorerOffer, hookimpl

STATE = "failed"
SAYS = ("ZeroDivisionError",)


@hookimpl
def describe():
    metric = MetricOffer(id="raises_in_score", direction="lower", best=0.0)
    return Card(scorers=(ScorerOffer(name="raises_in_score", summary="Raises", metrics=(metric,)),))


@hookimpl
def score(truth):
    return 1 / 0
