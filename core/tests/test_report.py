from __future__ import annotations

from html.parser import HTMLParser

from pertharness.host.leaderboard.tables import Line, Table
from pertharness.host.report import write_report

BAD = "<script>alert('x')</script>"


def make_table(**changes):
    line = Line(
        model=f"gears[{BAD}]", plugin="gears", score="3.10 [2.9, 3.3]", value="3.10", scored="7/8", rank="2",
        rank_range="1 to 3", time="2.0 s", memory="310 MB", verdict="worse", difference="0.20 [0.1, 0.3]", p="0.01",
        filled="3.20 (1 filled in), rank 2", test_only="3.00", seeds="0.10 / -", note=f"1 unanswered {BAD}",
    )  # fmt: skip
    known = {
        "dataset": "demo", "task": "double", "metric": "l2", "usual": True, "stratum": "all", "primary": True,
        "title": f"demo {BAD}", "sentence": f"l2 {BAD}; lower is better.", "level": "95 %", "reference": "additive",
        "lines": (line,), "reasons": (f"cpa: failed: {BAD}",),
    }  # fmt: skip
    return Table(**{**known, **changes})


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "action")]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def written(folder, tables, manifest):
    write_report(tables, manifest, folder / "report")
    return Page((folder / "report" / "index.html").read_text(encoding="utf-8"))


def test_report_is_well_formed_needs_nothing_else_and_escapes_names(tmp_path):
    manifest = {"pertharness": "0.1.0", "recipe": f"[run]\nname = {BAD!r}", "plugins": {"gears": {"version": BAD}}}
    page = written(tmp_path, [make_table(), make_table(stratum="strong-effect", primary=False)], manifest)
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.links
    assert all(link.startswith("../") for link in page.links)
    assert "../leaderboard.csv" in page.links
    assert page.text.count(BAD) >= 6  # shown as text: title, sentence, model, note, reason, provenance


def test_report_shows_every_table_with_its_numbers_reasons_and_provenance(tmp_path):
    page = written(tmp_path, [make_table(), make_table(metric="pearson", primary=False)], {"started": "2026-01-02"})
    for text in ("l2 (primary)", "pearson", "3.10 [2.9, 3.3]", "7/8", "310 MB", "worse", "cpa: failed", "2026-01-02"):
        assert text in page.text


def test_report_only_names_a_very_long_entry_of_the_manifest(tmp_path):
    page = written(tmp_path, [], {"records": {str(i): "x" * 100 for i in range(1000)}})
    assert "see manifest.json" in page.text
    assert len(page.text) < 10_000
    assert "Nothing was scored." in page.text
