"""What a partition learnt, kept: read by whoever goes on, whatever version wrote it."""

import zlib

import pytest

from services.portrait.domain.moment import Absent, Engine, Event, EventMatch, Rule, Sequence, Test
from services.portrait.domain.moment.codec import packed, squeezed, unpacked
from tests.portrait.test_moment import HOUR, MINUTE

KEPT_BEFORE = (
    r'{"now":3000,"slots":[[{"types":["behaviour.web"],"tests":[{"field":"page","kind":"one_of",'
    r'"values":["\u8bdd\u8d39"],"least":null,"most":null},{"field":"kb","kind":"between","values":[],"least":0.5,'
    r'"most":null}]},3660002],[{"types":["internet.access"],"tests":[]},3660002]],'
    r'"histories":[[7,[[0,[[1000,"\u98751"]]],[1,[[2000,"n1"]]]]],[8,[[0,[[3000,"w2"]]]]]],'
    r'"matched":[[7,[["seq",[[2000,1,"\u98751"]]]]]],'
    r'"timers":[[61001,7,"gap",2,61000],[63001,8,"gap",2,63000]]'
)
"""What engines that learnt the same as `test_a_snapshot_of_before_is_read` wrote when snapshots were first kept."""


@pytest.mark.parametrize("rules_too", [True, False])
def test_a_snapshot_of_before_is_read(rules_too: bool) -> None:
    """What lies in the table was written by an earlier version, the earliest of which did not tell the rules."""
    page = (Test("page", "one_of", ("话费",)), Test("kb", "between", (), 0.5))
    fee, online = EventMatch(("behaviour.web",), page), EventMatch(("internet.access",))
    rules = [Rule("seq", 1, Sequence((fee, online), MINUTE)), Rule("gap", 2, Absent(fee, online, MINUTE))]
    engine = Engine()
    engine.set_rules(rules)
    engine.apply(Event("页1", "behaviour.web", 7, 1000, {"page": "话费", "kb": 1}), 1000)
    engine.apply(Event("n1", "internet.access", 7, 2000, {}), 2000)
    engine.apply(Event("w2", "behaviour.web", 8, 3000, {"page": "话费", "kb": 2}), 3000)
    told = KEPT_BEFORE + (',"rules":["gap","seq"]}' if rules_too else "}")
    before, learnt = unpacked(zlib.compress(told.encode())), engine.snapshot()
    assert before == learnt | {"rules": learnt["rules"] if rules_too else []}
    assert unpacked(squeezed(packed(learnt))) == learnt
    resumed = Engine()
    resumed.restore(before)
    resumed.set_rules(rules)
    assert resumed.advance(HOUR) == engine.advance(HOUR) != []
