"""Settings of all tests: failures shown when they happen, and Ctrl-C as a terminal gives it."""

from __future__ import annotations

import signal

import pytest


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
