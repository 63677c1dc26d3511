"""What the pages for operators name exists: tests that prove a line, views, files of results."""

from __future__ import annotations

import re

import pytest

from tools.tidy import ROOT

PAGES = ROOT / "docs" / "operations"


def test_every_line_of_the_compliance_page_names_tests_that_exist() -> None:
    """R002-101: a checklist with its evidence."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (PAGES / "compliance.md").read_text())
    assert len(named) > 20
    for path, test in named:
        source = (ROOT / path).read_text()
        assert not test or re.search(rf"(?m)^(async )?def {test}\(", source), f"{path}::{test}"


def test_every_line_of_the_checklist_has_a_proof() -> None:
    rows = re.findall(r"(?m)^\| (?!asked|-)(.*) \|$", (PAGES / "compliance.md").read_text())
    assert rows
    assert [row for row in rows if "`tests/" not in row] == []


@pytest.mark.parametrize("page", ["mesh.md", "backup.md", "sizing.md"])
def test_paths_on_the_pages_exist(page: str) -> None:
    text = (PAGES / page).read_text()
    for path in re.findall(r"`((?:tests|deploy|docs)/[\w/.-]+)(?:::\w+)?`", text):
        assert (ROOT / path).exists(), path


def test_the_sizing_page_rests_on_results_that_are_committed() -> None:
    """R001-134: measured, not guessed."""
    there = {path.stem[11:] for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    named = set(re.findall(r"\(`([a-z_]+)`\)", (PAGES / "sizing.md").read_text()))
    assert named
    assert named <= there


def test_the_page_on_sql_lists_every_view() -> None:
    made = {
        name
        for path in (ROOT / "services").glob("*/migrations/marts.sql")
        for name in re.findall(r"CREATE VIEW (marts\.\w+)", path.read_text())
    }
    assert set(re.findall(r"(?m)^\| `(marts\.\w+)`", (PAGES / "sql.md").read_text())) == made
