"""Settings of all tests: which files are slow, failures shown when they happen, and Ctrl-C as a terminal gives it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
# Files whose tests take long, most of it to start interpreters and environments. The first depend on the versions of
# Python and of dependencies, and run with the oldest and the newest, too.
SLOW_VERSIONS = frozenset({
    "core/tests/test_containers.py",
    "core/tests/test_datasets_h5ad.py",
    "core/tests/test_predict_stage.py",
    "core/tests/test_stages.py",
    "core/tests/test_worker_main.py",
    "plugins/scorers/tests/test_locfdr.py",
    "tests/test_end_to_end.py",
    "tests/test_older_runs.py",
})  # fmt: skip
SLOW = SLOW_VERSIONS | frozenset({
    "core/tests/test_conformance_kit.py",
    "core/tests/test_datasets_scale.py",
    "core/tests/test_join.py",
    "core/tests/test_verify.py",
    "core/tests/test_environment_settings.py",
    "core/tests/test_screen_facts.py",
    "core/tests/test_bytecode.py",
    "core/tests/test_caches.py",
    "core/tests/test_cli_streams.py",
    "core/tests/test_describe.py",
    "core/tests/test_environment_faults.py",
    "core/tests/test_environment_libraries.py",
    "core/tests/test_environments.py",
    "core/tests/test_executor.py",
    "core/tests/test_fetch_cli.py",
    "core/tests/test_fetch_faults.py",
    "core/tests/test_gpus.py",
    "core/tests/test_limits.py",
    "core/tests/test_job_homes.py",
    "core/tests/test_keep_models.py",
    "core/tests/test_named_files.py",
    "core/tests/test_resume.py",
    "core/tests/test_runner.py",
    "core/tests/test_scaffold.py",
    "core/tests/test_stage_digests.py",
    "core/tests/test_trees.py",
    "core/tests/test_watch.py",
    "tests/test_awkward_labels.py",
    "tests/test_benchmarks.py",
    "tests/test_calibration.py",
    "tests/test_changed_inputs.py",
    "tests/test_check_command.py",
    "tests/test_commands_data.py",
    "tests/test_commands_look.py",
    "tests/test_commands_mistakes.py",
    "tests/test_commands_run.py",
    "tests/test_commands_score.py",
    "tests/test_commands_store.py",
    "tests/test_data_check.py",
    "tests/test_grid_end_to_end.py",
    "tests/test_interrupted.py",
    "tests/test_misbehaving.py",
    "tests/test_plugins_beside.py",
    "tests/test_predict_command.py",
    "tests/test_python_door.py",
    "tests/test_python_mistakes.py",
    "tests/test_python_process.py",
    "tests/test_real_data.py",
    "tests/test_reproduce_end_to_end.py",
    "tests/test_sandbox_spy.py",
    "tests/test_scored_files.py",
    "tests/test_scorer_plugins.py",
    "tests/test_slots_end_to_end.py",
    "tests/test_tells_end_to_end.py",
    "tests/test_third_party.py",
    "tests/test_weights_end_to_end.py",
})  # fmt: skip
ON_REQUEST = ("docs", "models")
"""Markers of tests that build environments, for minutes: they run only where ``-m`` names the marker, whatever other
markers they have."""


class FailuresAtOnce:
    """Shows a failure in full when it happens, and not again at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.writer = config.get_terminal_writer()
        terminal = config.pluginmanager.getplugin("terminalreporter")
        terminal.summary_failures = terminal.summary_errors = lambda: None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write what pytest itself would write of a failed test at the end."""
        if report.failed:
            self._show(report, f"{report.nodeid} ({report.when})")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write why a file cannot be read."""
        if report.failed:
            self._show(report, report.nodeid)

    def _show(self, report: pytest.TestReport | pytest.CollectReport, title: str) -> None:
        self.writer.line()
        self.writer.sep("_", title, red=True, bold=True)
        report.toterminal(self.writer)
        for name, text in report.sections:
            self.writer.sep("-", name)
            self.writer.line(text)


@pytest.hookimpl(trylast=True)  # after the terminal has its reporter
def pytest_configure(config: pytest.Config) -> None:
    """Let commands that tests start be interrupted, and failures be shown at once."""
    # A shell lets the jobs that it starts in the background ignore Ctrl-C, and so would all commands that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.pluginmanager.hasplugin("terminalreporter") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config), "failures-at-once")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow, and leave out what runs only when its marker is named."""
    for item in items:
        name = item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else ""
        if name in SLOW or item.get_closest_marker("docs") or item.get_closest_marker("models"):
            item.add_marker(pytest.mark.slow)
        if name in SLOW_VERSIONS:
            item.add_marker(pytest.mark.versions)
    named = re.findall(r"\w+", config.option.markexpr)
    not_named = [name for name in ON_REQUEST if name not in named]
    left_out = {item for item in items if any(map(item.get_closest_marker, not_named))}
    if left_out:
        config.hook.pytest_deselected(items=[*left_out])
        items[:] = [item for item in items if item not in left_out]
