"""The catalogue as data: what is refused with its path, and that the shipped one is sound."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.portrait.domain.detail import parse_details
from services.portrait.domain.tag import LIFE_CIRCLES, CatalogueInvalid, parse, plan
from services.portrait.domain.tag.describe import lineage_of, places_of, track_of
from services.portrait.domain.tag.rule import Attended, leaves
from tests.portrait.plain import document, flag

SHIPPED = Path("services/portrait/catalogue/tags.yaml")


@pytest.mark.parametrize(
    ("tag", "path"),
    [
        (flag({"sql": "drop"}), "T1.rule.sql"),
        (flag({"all": []}), "T1.rule.all"),
        (flag({"all": [{"tag": "T1"}, {"maybe": 1}]}), "T1.rule.all[1].maybe"),
        (flag({"dwell": {"place": ["spo.*"]}}), "T1.rule.dwell"),
        (flag({"dwell": {"place": ["zoo.*"], "days_ge": 1}}), "T1.rule.dwell.place"),
        (flag({"dwell": {"place": ["*"], "mood_ge": 2}}), "T1.rule.dwell.mood_ge"),
        (flag({"dwell": {"place": ["*"], "days_ge": "${seldom}"}}), "T1.rule.dwell.days_ge"),
        (flag({"dwell": {"place": ["*"], "days_ge": True}}), "T1.rule.dwell.days_ge"),
        (flag({"dwell": {"place": ["*"], "days_ge": 1, "slots": ["dawn"]}}), "T1.rule.dwell.slots"),
        (flag({"dwell": {"place": ["*"], "days_ge": 1, "window": "90d"}}), "T1.rule.dwell.window"),
        (flag({"dwell": {"place": ["*"], "days_ge": float("nan")}}), "T1.rule.dwell.days_ge"),
        (flag({"anchor": {"role": "home", "days_ge": float("inf")}}), "T1.rule.anchor.days_ge"),
        (flag(reduce(lambda rule, _: {"not": rule}, range(900), {"tag": "T1"})), "T1.rule" + ".not" * 32),
        (flag({"anchor": {"role": "club"}}), "T1.rule.anchor.role"),
        (flag({"anchor": {"role": "home", "changed_within": "soon"}}), "T1.rule.anchor.changed_within"),
        (flag({"stat": {"shoe_size": "ge 3"}}), "T1.rule.stat.shoe_size"),
        (flag({"stat": {"age": "about 3"}}), "T1.rule.stat.age"),
        (flag({"stat": {"gender": "ge 3"}}), "T1.rule.stat.gender"),
        (flag({"attend": {"type": ["rave"]}}), "T1.rule.attend.type"),
        (flag({"at_least": {"n": 3, "of": [{"tag": "T1"}]}}), "T1.rule.at_least.n"),
        (flag({"tag": "T9"}), "T1"),
        (flag({"tag": "T1"}), "T1"),
        (flag({"tag": "T1"}, kind="score"), "T1.score"),
        (flag({"tag": "T1"}, colour="red"), "T1.colour"),
        (flag({"stat": {"age": "ge 3"}}, ttl="soon"), "T1.ttl"),
        ({"code": "T1", "zh": "标", "family": "f", "kind": "value", "from": "top_town(place: [zoo.*])"}, "T1.from"),
        ({"code": "T1", "zh": "标", "family": "f", "kind": "enum"}, "T1.cases"),
    ],
)
def test_what_is_not_known_is_refused_with_its_path(tag: dict[str, Any], path: str) -> None:
    with pytest.raises(CatalogueInvalid) as refused:
        parse(document([tag]))
    assert refused.value.path == path


def test_tags_that_look_at_each_other_in_a_circle_are_refused() -> None:
    circle = [flag({"tag": "B"}, "A"), flag({"not": {"tag": "A"}}, "B")]
    with pytest.raises(CatalogueInvalid, match="circle"):
        parse(document(circle))


def test_a_code_is_defined_once() -> None:
    with pytest.raises(CatalogueInvalid, match="twice"):
        parse(document([flag({"stat": {"age": "ge 3"}}), flag({"stat": {"age": "ge 4"}})]))


def test_every_life_circle_tells_its_place_and_track_features_and_some_follow_events() -> None:
    """R001-155, R001-156: explicit features of place and track; event-type tags in the circles they belong to."""
    catalogue = parse(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    by_code = {tag.code: tag for tag in catalogue.tags}
    circles = [tag for tag in catalogue.tags if tag.family in LIFE_CIRCLES]
    assert len(circles) >= 30
    for tag in circles:
        assert places_of(tag), tag.code
        assert track_of(tag, by_code), tag.code
    attending = {
        tag.family for tag in circles for case in tag.cases for leaf in leaves(case.rule) if isinstance(leaf, Attended)
    }
    assert attending == {"需求偏好圈", "动态行为圈"}


def test_the_tree_has_four_circles_and_the_static_classes_and_a_third_level_stands_in_a_second() -> None:
    """R001-038, R001-043, R001-064: four top classes of 30 tags or more, five of consumption, ancestors of level 3."""
    catalogue = parse(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    living = {tag.family for tag in catalogue.tags if not tag.family.startswith("静态-")}
    assert living == {"区域归属圈", "人文圈", "需求偏好圈", "动态行为圈"}
    assert sum(tag.family in living for tag in catalogue.tags) >= 30
    static = {f"静态-{name}" for name in ("背景", "价值贡献", "发展趋势", "套餐使用", "通话行为")}
    assert static <= {tag.family for tag in catalogue.tags}
    third = [tag for tag in catalogue.tags if tag.level3]
    assert all(tag.level2 and tag.family for tag in third)
    paths = {tag.code: (tag.family, tag.level2, tag.level3) for tag in third}
    assert paths["PR01"] == ("需求偏好圈", "体育爱好圈", "狂热篮球")
    assert paths["PR02"] == ("需求偏好圈", "体育爱好圈", "动感足球")


def test_the_shipped_catalogue_is_sound_and_needs_far_fewer_questions_than_rules() -> None:
    catalogue = parse(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    assert len(catalogue.tags) >= 103
    assert len({tag.family for tag in catalogue.tags}) >= 3
    assert {"RG04", "HU01", "PR19", "BE01", "BK07", "VA01", "CO01"} <= {tag.code for tag in catalogue.tags}
    asked = plan(catalogue, 30)
    assert len(asked.filters) < 30
    assert len(asked.leaves) < 64


def test_every_derived_tag_tells_what_it_is_made_of_down_to_the_feed() -> None:
    """R003-036, R003-038: web logs, signalling and channel logs stand as the sources of the tags derived from them."""
    catalogue = parse(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    details = parse_details(yaml.safe_load((SHIPPED.parent / "details.yaml").read_text(encoding="utf-8")))
    feed = {f"stat.{item.name}": item.source for item in details.items}
    sources = {tag.code: {feed.get(one, one) for one in lineage_of(tag)} for tag in catalogue.tags}
    assert all(sources.values())
    assert sources["IC01"] == sources["IC02"] == {"web_logs"}
    assert sources["IC03"] == {"coarse_portrait"}
    assert sources["CH01"] == {"touches"}
    assert {"app_logs", "complaints"} <= set(details.unions["touches"])
    assert sources["PR01"] == {"dwell_day"}, "counted of signalling"
    assert "contacts" in sources["MP02"]
