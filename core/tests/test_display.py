"""What a person sees while jobs run."""

import io
from pathlib import Path

from pertharness.contract.jobs import Job, PluginRef, Status
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.run.display import LiveDisplay, PlainDisplay, VerboseDisplay, make_display
from rich.console import Console


def node(title: str, stage: str = "scores") -> Node:
    job = Job(key="k", stage=stage, plugin=PluginRef(name="p", module="p", version="1"))
    return Node(job=job, python=Path("python"), title=title)


def fresh(state: str, message: str = "", notes: tuple[str, ...] = ()) -> Outcome:
    status = Status.model_validate({"key": "k", "state": state, "message": message, "notes": list(notes)})
    return Outcome(status.state, message, status, fresh=True)


def shown(display: PlainDisplay) -> str:
    with display:
        display.ended(node("score [red]l2[/red]"), fresh("done"))
        display.ended(node("dataset mine"), fresh("done", notes=("labels: obs['condition']",)))
        display.ended(node("model bad"), fresh("failed", "ValueError: no\nsecond line"))
        display.ended(node("what waited for it"), Outcome("failed", "ValueError: no"))
        display.ended(node("from the store"), Outcome("done", status=Status(key="k", state="done")))
        known = Status(key="k", state="done", notes=["doubles: 2 of 5 lack one of their singles"])
        display.ended(node("dataset known", "datasets"), Outcome("done", status=known))
        display.tick([])
    text = display.console.file.getvalue()
    assert isinstance(text, str)
    return text


def test_plain_lines_name_what_failed_and_what_is_known_of_data() -> None:
    display = make_display(Console(file=io.StringIO(), width=80), 6)
    assert type(display) is PlainDisplay
    assert shown(display).splitlines() == [
        "[2/6] done    dataset mine",
        "    labels: obs['condition']",
        "[3/6] failed  model bad",
        "    ValueError: no",
        "[6/6] done    dataset known",
        "    doubles: 2 of 5 lack one of their singles",
    ]


def test_verbose_lines_name_what_was_done_and_why_something_failed() -> None:
    display = make_display(
        Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None), 6, verbose=True
    )
    assert isinstance(display, VerboseDisplay)
    text = shown(display)
    assert text.splitlines() == [
        "[1/6] done    score [red]l2[/red]",
        "[2/6] done    dataset mine",
        "    labels: obs['condition']",
        "[3/6] failed  model bad",
        "    ValueError: no",
        "[6/6] done    dataset known",
        "    doubles: 2 of 5 lack one of their singles",
    ]


def test_a_terminal_has_a_bar_and_only_what_needs_to_be_known() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    display = make_display(console, 6)
    assert isinstance(display, LiveDisplay)
    text = shown(display)
    assert "model bad" in text
    assert "score" not in text
    assert "6/6" in text
