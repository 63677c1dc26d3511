"""Segments: what was planted is found, named, kept from cycle to cycle; figures equal a plain count."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, silhouette_score

from services.portrait.domain import segment
from services.portrait.domain.segment.naming import ARCHETYPES

FEATURES = ("arpu_3m_avg", "mou_1m", "sms_mo_1m", "dou_mb_1m", "arpu_slope_6m", "call_roam_secs_30d", "crbt")
SIZES = (60, 90, 70, 110, 80, 100, 75, 95)


def planted(seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The eight young-brand archetypes, with noise; some values are missing."""
    draw = np.random.default_rng(seed)
    signs = np.array([sign for _, sign in ARCHETYPES])
    truth = np.repeat(np.arange(len(SIZES)), SIZES)
    values = 50 + 10 * (3 * signs[truth] + 0.6 * draw.normal(size=(len(truth), len(FEATURES))))
    values[draw.random(values.shape) < 0.01] = np.nan
    return values, truth


def test_the_eight_segments_of_the_young_brand_are_found_and_named() -> None:
    """R002-016, R002-017: k is chosen by itself or given; adjusted Rand at least 0.95 against what was planted."""
    values, truth = planted()
    points = segment.prepared(values)
    found = segment.clustered(points, 8, 1)
    assert segment.adjusted_rand(found.label, truth) >= 0.95
    names = segment.names(FEATURES, found.centre)
    assert len(set(names)) == 8
    by_name = {name.split(" ", 1)[1]: number for number, name in enumerate(names)}
    assert set(by_name) >= {name for name, _ in ARCHETYPES[:6]}
    for number, (name, _) in enumerate(ARCHETYPES):
        if name in by_name:
            mine = found.label == by_name[name]
            assert (truth[mine] == number).mean() > 0.9, name


def test_as_many_segments_as_fall_apart_best_are_chosen() -> None:
    """R002-002: the number of segments is chosen by silhouette where none is asked for."""
    draw = np.random.default_rng(2)
    centre = np.array([[0, 0], [9, 0], [0, 9], [9, 9], [4.5, 18]])
    points = np.vstack([each + 0.5 * draw.normal(size=(50, 2)) for each in centre])
    found = segment.clustered(segment.prepared(points), None, 3)
    assert len(found.centre) == 5
    assert found.silhouette > 0.8


def test_silhouette_and_rand_are_those_of_scikit_learn() -> None:
    """R002-002: the stability and quality figures are the field's."""
    draw = np.random.default_rng(4)
    points, one, other = draw.normal(size=(200, 3)), draw.integers(0, 4, 200), draw.integers(0, 3, 200)
    assert np.isclose(segment.silhouette(points, one), silhouette_score(points, one))
    assert np.isclose(segment.adjusted_rand(one, other), adjusted_rand_score(one, other))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60))
def test_rand_equals_the_reference_on_any_two_partitions(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs).T
    assert np.isclose(segment.adjusted_rand(one, other), adjusted_rand_score(one, other))


def test_a_segment_keeps_its_id_while_its_customers_stay_together() -> None:
    """R002-002: stability between cycles; a new group gets an id that was never used."""
    before = np.array(["B-1"] * 50 + ["B-2"] * 50 + [""] * 40)
    label = np.array([1] * 45 + [0] * 5 + [0] * 50 + [2] * 40)
    told = segment.matched(label, 3, before, "B", ["B-7"])
    assert told.segment_id == ("B-2", "B-1", "B-8")
    assert told.kept == (1.0, 0.9, 1.0)


def test_figures_equal_a_plain_count() -> None:
    """R002-018, R002-019, R002-020, R002-021, R004-007: penetration, usage, awareness, content, profile."""
    draw = np.random.default_rng(8)
    label = draw.integers(0, 3, 120)
    held, uses = draw.random((120, 4)) < 0.4, draw.integers(0, 9, (120, 4)).astype(float)
    asked = draw.integers(0, 2, (120, 4))
    asked[:, 3] = 0
    aware = asked * draw.integers(0, 2, (120, 4))
    told = segment.holdings(label, 3, held, uses, asked, aware)
    for number, lines in enumerate(told):
        mine = [row for row in range(120) if label[row] == number]
        for line in lines:
            holders = [row for row in mine if held[row, line.service]]
            people = [row for row in mine if asked[row, line.service]]
            assert np.isclose(line.penetration, len(holders) / len(mine))
            assert np.isclose(line.usage, sum(uses[row, line.service] for row in holders) / max(len(holders), 1))
            knowing = sum(aware[row, line.service] for row in people)
            assert np.isclose(line.awareness, knowing / len(people) if people else -1.0)
        assert [line.penetration for line in lines] == sorted((line.penetration for line in lines), reverse=True)
    use = draw.random((120, 5))
    assert np.allclose(segment.contents(label, 3, use)[1], use[label == 1].sum(axis=0) / use[label == 1].sum())
    profile = segment.profiles(("a",), uses[:, :1], label, 3)[2][0]
    assert np.isclose(profile.mean, uses[label == 2, 0].mean())
    assert profile.quartiles == tuple(np.percentile(uses[label == 2, 0], (25, 50, 75)))


def test_the_largest_gap_to_the_most_alike_segment_comes_first() -> None:
    """R002-023, R002-009: segment × service by gap; a service that all hold alike is no opportunity."""
    label = np.repeat([0, 1, 2], 100)
    held = np.zeros((300, 2), dtype=bool)
    held[:50, 0] = held[100:180, 0] = held[200:210, 0] = True
    held[::2, 1] = True
    told = segment.gaps(label, held, np.array([[0.0], [1.0], [1.5]]))
    assert [(gap.segment, gap.service, round(gap.customers)) for gap in told] == [(2, 0, 70), (0, 0, 30)]
    assert told[0].reference == 0.8
