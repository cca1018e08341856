"""The table of models on the page is that of the cards, and every model has its costs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "models" / "README.md").read_text(encoding="utf-8")
MADE = "<!-- made by docs/models/table.py -->\n\n{}\n\n<!-- end of the table -->"


def printed_table() -> str:
    """The table of the cards; made in a process of its own, because it imports every plugin."""
    command = [sys.executable, str(ROOT / "docs" / "models" / "table.py"), "--print"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_table_of_models_is_that_of_the_cards() -> None:
    table = printed_table()
    assert len(table.splitlines()) > 2
    assert MADE.format(table) in PAGE, "run: python docs/models/table.py"


def test_every_plugin_with_a_model_has_a_row_and_its_costs() -> None:
    plugins = {path.name for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").is_file()}
    table, _, costs = PAGE.partition("## Costs")
    named = set(re.findall(r"^\| \[?`(\w+)`", table, re.MULTILINE))
    assert named >= plugins - {"baselines", "foundation", "scorers"}
    assert {name for line in costs.splitlines() for name in re.findall(r"`(\w+)`", line.split(" | ")[0])} >= named
