"""The report of a run: a page that needs no other file and no network."""

from pertharness.host.report.page import write_report as write_report
