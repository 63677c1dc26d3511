"""The chain of the operation log: nothing in it can change unseen."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.admin.domain.operation import START, Line, Operation, chained, verify
from services.kit.errors import Refusal

NOON = datetime(2026, 3, 1, 4, tzinfo=UTC)


def lines(count: int) -> list[Line]:
    made: list[Line] = []
    for number in range(1, count + 1):
        told = Operation(
            "points", f"op-{number}", NOON + timedelta(seconds=number), "li", "G1", "points.X", "", False, {}
        )
        made.append(chained(made[-1].hash if made else START, number, told))
    return made


def test_a_whole_chain_fits_also_in_two_parts() -> None:
    chain = lines(5)
    head = (5, chain[-1].hash)
    assert verify(chain, head) == chain[-1]
    assert verify(chain[3:], head, verify(chain[:3], head)) == chain[-1]


@given(st.integers(0, 9), st.sampled_from(["caller", "target", "action", "org_id"]))
def test_a_changed_line_is_found_where_it_stands(at: int, name: str) -> None:
    chain = lines(10)
    other = dataclasses.replace(chain[at].operation, **{name: "another"})
    chain[at] = dataclasses.replace(chain[at], operation=other)
    with pytest.raises(Refusal) as refused:
        verify(chain, (10, chain[-1].hash))
    assert refused.value.metadata["sequence"] == str(at + 1)


@given(st.integers(0, 9))
def test_a_dropped_line_is_found(at: int) -> None:
    chain = lines(10)
    head = (10, chain[-1].hash)
    del chain[at]
    if at == 9:  # the end was cut off: what is left fits, and does not reach the head
        last = verify(chain, head)
        assert last is not None
        assert last.sequence < head[0]
        return
    with pytest.raises(Refusal, match="from line"):
        verify(chain, head)


def test_a_chain_that_was_made_anew_does_not_fit_the_head_that_was_noted() -> None:
    noted = (3, lines(3)[-1].hash)
    anew: list[Line] = []
    for line in lines(3):
        told = dataclasses.replace(line.operation, caller="nobody")
        anew.append(chained(anew[-1].hash if anew else START, line.sequence, told))
    with pytest.raises(Refusal):
        verify(anew, noted)
