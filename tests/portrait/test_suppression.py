"""What a report withholds, and definitions of reports that cannot be used."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.report import ReportInvalid, parse_reports, suppressed
from tests.portrait.conftest import HERE

DOCUMENT = yaml.safe_load((HERE / "catalogue" / "reports.yaml").read_text(encoding="utf-8"))
K = 10


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwx")), st.integers(0, 40), min_size=1))
def test_no_withheld_count_can_be_had_from_totals(cells: dict[tuple[str, str], int]) -> None:
    """Whatever the counts: in each part with a known total, nothing small is shown, and what is withheld is two lines
    or more that stand for k customers together, or all there is."""
    keys, people = list(cells), [(count,) for count in cells.values()]
    within = [(), (0,), (1,)]
    hidden = suppressed(keys, people, within, K)
    for at, kept in ((at, kept) for at in range(len(keys)) for kept in within):
        part = [line for line, key in enumerate(keys) if all(key[p] == keys[at][p] for p in kept)]
        gone = [line for line in part if hidden[line]]
        assert all(hidden[line] or not 0 < people[line][0] < K for line in part)
        left = [line for line in part if not hidden[line] and people[line][0]]
        assert not gone or not left or (len(gone) > 1 and sum(people[line][0] for line in gone) >= K)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"smallest_group": 1}, "smallest_group"),
        ({"format": "reports/2"}, "format"),
        ({"reports": [{"id": "a", "zh": "a", "purpose": "a", "parts": ["b"]}]}, "a.parts"),
        ({"reports": [{"id": "a", "zh": "a", "purpose": "a", "colour": 1}]}, "colour"),
    ],
)
def test_a_definition_that_is_wrong_is_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ReportInvalid, match=where):
        parse_reports({**DOCUMENT, **change})
