"""Where organisations may stand, and what may be granted."""

import pytest

from services.admin.domain import secret
from services.admin.domain.grant import Actor
from services.admin.domain.organisation import Organisation, place
from services.kit.errors import Refusal

KNOWN = {
    each.org_id: each
    for each in (
        Organisation("P", "", "province", "省"),
        Organisation("C", "P", "city", "市"),
        Organisation("D", "C", "district", "区"),
        Organisation("G", "D", "grid", "网格"),
    )
}


@pytest.mark.parametrize(("level", "parent"), [("city", "P"), ("grid", "C"), ("grid", "D"), ("province", "")])
def test_an_organisation_stands_below_a_higher_level(level: str, parent: str) -> None:
    place(Organisation("new", parent, level, "新"), KNOWN)


@pytest.mark.parametrize(("level", "parent"), [("city", "D"), ("grid", "G"), ("city", "C"), ("grid", "nowhere")])
def test_an_organisation_elsewhere_is_refused(level: str, parent: str) -> None:
    with pytest.raises(Refusal, match="cannot stand below"):
        place(Organisation("new", parent, level, "新"), KNOWN)


def test_an_organisation_does_not_sink_below_what_is_below_it() -> None:
    with pytest.raises(Refusal, match="D, which is a district"):
        place(Organisation("C", "P", "grid", "市"), KNOWN)


def test_an_actor_gives_what_he_holds_where_he_belongs() -> None:
    actor = Actor("li", "C", frozenset({"C", "D", "G"}), frozenset({"points.GetPeriod"}))
    actor.reaches("G")
    actor.holds({"points.GetPeriod"})
    with pytest.raises(Refusal, match="outside of yours"):
        actor.reaches("P")
    with pytest.raises(Refusal, match="outside of yours"):
        actor.reaches("")
    with pytest.raises(Refusal, match="you do not hold"):
        actor.holds({"points.GetPeriod", "points.PublishRuleSet"})


def test_a_secret_fits_only_what_was_kept_of_it() -> None:
    made = secret.text(bytes(range(32)))
    kept = secret.kept(made, b"0123456789abcdef")
    assert made not in kept
    assert secret.fits(made, kept)
    assert not secret.fits(made + "x", kept)
    assert not secret.fits("", "")
