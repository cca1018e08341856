"""The options of jobs: read once, refused where they are not those of the stage, written as they were given."""

from typing import Any

import pytest
from pertharness.contract.cards import MetricOffer, ScorerOffer
from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import Job, PluginRef, Stage
from pertharness.contract.options import (
    EmbeddingOptions,
    ExternalOptions,
    ModelOptions,
    ScoreOptions,
    kind_of_score,
    options_of,
)

OFFER = ScorerOffer(name="l2", summary="l2", metrics=(MetricOffer(id="l2", direction="lower", best=0.0),))


def job(stage: Stage, **options: Any) -> Job:
    return Job(key="k", stage=stage, plugin=PluginRef(name="toy", module="toy", version="1"), options=options)


def test_only_what_was_given_is_written() -> None:
    assert ModelOptions(score_on=("test", "val")).written() == {"score_on": ["test", "val"]}
    given = ExternalOptions(score_on=("test",), reading=3, prediction_kind=None)
    assert given.written() == {"score_on": ["test"], "reading": 3, "prediction_kind": None}
    written = ScoreOptions(score_on=("test",), offer=OFFER).written()
    # What the leaderboard alone reads of a metric enters no key: one that covers doubles is scored as any other.
    left_out: Any = {"params_help": True, "metrics": {"__all__": {"covers"}}}
    assert written == {"score_on": ["test"], "offer": OFFER.model_dump(mode="json", exclude=left_out)}
    doubles = OFFER.model_copy(update={"metrics": (OFFER.metrics[0].model_copy(update={"covers": "doubles"}),)})
    assert ScoreOptions(score_on=("test",), offer=doubles).written() == written
    assert options_of(job("scores", **written), ScoreOptions).offer == OFFER


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "all"),
        ({"against": "half_b"}, "half"),
        ({"lacking": ("A",)}, "common-genes"),
        ({"lacking": ()}, "common-genes"),
    ],
)
def test_the_kinds_of_score_jobs_are_told_apart_by_their_options(options: dict[str, Any], kind: str) -> None:
    assert kind_of_score(ScoreOptions(score_on=("test",), offer=OFFER, **options)) == kind


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "cell"}, r"kind: .*'gene'"),
        ({}, "kind: Field required"),
        ({"kind": "gene", "depth": 2}, "depth: Extra inputs are not permitted"),
    ],
)
def test_options_of_another_version_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message) as refused:
        options_of(job("embeddings", **options), EmbeddingOptions)
    assert "the job 'k' of the stage 'embeddings'" in str(refused.value)
    assert "install the same version of pertharness on both sides" in str(refused.value)
