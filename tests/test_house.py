"""The house is kept by machine: every law gives the places where it is broken, and there are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
