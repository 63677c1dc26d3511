"""The house is kept by machine: every law gives the places where it is broken, and there are none."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from importlinter.cli import lint_imports

from tools import tidy


@pytest.mark.parametrize(
    "law",
    [
        tidy.too_long_files,
        tidy.too_long_functions,
        tidy.vague_names,
        tidy.unfinished,
        tidy.missing_rooms,
        tidy.long_mains,
        tidy.domain_clocks,
    ],
    ids=lambda law: law.__name__,
)
def test_no_place_breaks_the_law(law: Callable[[], list[str]]) -> None:
    assert law() == []


def test_the_layers_are_kept_and_written_down() -> None:
    """R001-127: every contract of layering holds, and the record of the architecture and its decisions is there."""
    assert lint_imports(config_filename=str(tidy.ROOT / "pyproject.toml"), no_cache=True) == 0
    assert "import-linter" in (tidy.ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert list((tidy.ROOT / "docs" / "adr").glob("*.md"))


def test_ci_runs_what_everybody_runs_the_acceptance_suite_among_it() -> None:
    """R002-103: one command judges; house, types, imports, contract, and the campaign played through."""
    assert (tidy.ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
    rules = dict(re.findall(r"(?m)^([a-z-]+):([^#\n]*)", (tidy.ROOT / "Makefile").read_text()))
    assert rules["test"].split() == ["lint", "types", "imports", "proto-check", "tests", "clean-tree"]
    assert (tidy.ROOT / "tests" / "e2e" / "test_campaign.py").exists()
    assert "--ignore" not in (tidy.ROOT / "pyproject.toml").read_text()
