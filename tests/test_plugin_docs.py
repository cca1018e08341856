"""The pages for authors of plugins say what the code says."""

from pathlib import Path

from pertharness.testing.card_checks import CARD_CHECKS
from pertharness.testing.dataset_checks import DATASET_CHECKS
from pertharness.testing.embedding_checks import EMBEDDING_CHECKS
from pertharness.testing.model_checks import MODEL_CHECKS
from pertharness.testing.reference import hooks_page
from pertharness.testing.scorer_checks import SCORER_CHECKS

PAGES = Path(__file__).parents[1] / "docs" / "plugins"


def test_the_hooks_page_is_that_of_the_specs() -> None:
    written = (PAGES / "hooks.md").read_text(encoding="utf-8")
    assert written == hooks_page(), "run: python -m pertharness.testing.reference docs/plugins/hooks.md"


def test_the_testing_page_lists_every_check_with_its_promise() -> None:
    section = (PAGES / "testing.md").read_text(encoding="utf-8").split("\n## The checks\n")[1]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    tables = (CARD_CHECKS, MODEL_CHECKS, SCORER_CHECKS, DATASET_CHECKS, EMBEDDING_CHECKS)
    checks = [item for table in tables for item in table.items()]
    assert rows == [f"| `{name}` | {(function.__doc__ or '').splitlines()[0]} |" for name, function in checks]
