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
    """R001-025, R001-134: a few servers of ordinary size are stated; measured, not guessed."""
    assert "Three servers of 32 cores, 128 GiB" in (PAGES / "sizing.md").read_text()
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


def test_the_architecture_is_that_of_the_code() -> None:
    """R002-073: goal, picture, table of services and decisions: each is there, and none of what is gone."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    services = {path.parent.name for path in (ROOT / "services").glob("*/README.md")} - {"kit"}
    assert page.index("## The problem") < page.index("## The picture")
    table = re.findall(r"(?m)^\| `(\w+)` \| .* \| (.*) \|$", page)
    assert {name for name, _ in table} == services
    picture = page.split("```")[1]
    assert services - {"admin"} <= set(re.findall(r"[a-z]+", picture))
    for name, published in table:
        protos = "".join(path.read_text() for path in (ROOT / "protos/lifecircle" / name / "v1").glob("*.proto"))
        for method in re.findall(r"`([A-Z]\w+)`", published):
            assert f"rpc {method}(" in protos, (name, method)
    for service, method in (("portrait", "Deliveries"), ("recommend", "Runs"), ("contact", "Matrices")):
        code = "".join(path.read_text() for path in (ROOT / "services" / service).rglob("*.py"))
        assert f"Watch{method}" in code, f"{service} follows its upstream"
    decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert [int(name[:4]) for name in decisions] == list(range(1, len(decisions) + 1))
    for linked in re.findall(r"\((docs/[\w/.-]+)\)", page):
        assert (ROOT / linked).exists(), linked
