"""Who bears which tag: rules judged over whole columns of customers, and how a tag outlives the run that gave it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.place import NOWHERE
from services.portrait.domain.tag.catalogue import Catalogue
from services.portrait.domain.tag.definition import Part, Tag
from services.portrait.domain.tag.evidence import lines
from services.portrait.domain.tag.facts import Earlier, Facts
from services.portrait.domain.tag.plan import landmark_of
from services.portrait.domain.tag.reading import Flags, Floats, Ints, Reading
from services.portrait.domain.tag.rule import Anchored, Rule, Stated, leaves, loosened

_EPOCH = date(1970, 1, 1)
_Said = tuple[str, Rule | None, Flags, Floats]
"""A value, the rule that gives it, who bears it, and how sure that is."""
Before = Mapping[tuple[str, str], Earlier]
"""What the run before said, by tag and value."""


@dataclass(frozen=True)
class Verdict:
    """Who bears a tag (or one value of it); everything is (bearers,), by customer. Days count from 1970-01-01."""

    tag: Tag
    value: str
    bearers: Ints
    evidence: pa.Array
    """A line of text each."""
    landmark: npt.NDArray[np.int32]
    score: Floats
    from_day: Ints
    expire_day: Ints


def percentiles_of(catalogue: Catalogue) -> list[tuple[str, float]]:
    """The (column, rank) pairs whose percentiles over the active base the rules compare with."""
    tests = (
        test
        for tag in catalogue.tags
        for case in tag.cases
        for leaf in leaves(case.rule, positive=False)
        if isinstance(leaf, Stated)
        for test in leaf.tests
    )
    return sorted({(test.column, test.percentile) for test in tests if test.percentile is not None})


def judge(catalogue: Catalogue, facts: Facts, before: Before | None = None) -> list[Verdict]:
    """Verdicts of all tags in catalogue order, a value of an enum or value tag each on its own, empty ones left out.

    `before` is what the run before said: its bearers keep a flag down to the looser bounds of `hysteresis`; a tag that
    is not confirmed is carried until it expires, unless an anchor that it rests on says otherwise now, or another value
    took its place. Rules that look at a tag see what this run confirmed, not what is carried.
    """
    judges = _Judge(catalogue, facts, before or {})
    return [verdict for tag in catalogue.tags for verdict in judges.verdicts(tag) if len(verdict.bearers)]


class _Judge:
    def __init__(self, catalogue: Catalogue, facts: Facts, before: Before) -> None:
        self._facts = facts
        self._before = before
        self._today = (facts.to_date - _EPOCH).days
        self._reading = Reading(facts)
        self._nowhere = np.full(facts.customers, NOWHERE, dtype=np.int32)
        self._told: dict[str, pa.Array] = {}

    def verdicts(self, tag: Tag) -> list[Verdict]:
        """What is said of one tag, by value."""
        said: list[_Said]
        if tag.kind == "value":
            said = [(value, None, borne, np.ones(len(borne))) for value, borne in self._words(tag)]
        elif tag.kind == "score":
            said = [self._scored(tag)]
        else:
            said = self._cases(tag)
        taken = np.zeros(self._facts.customers, dtype=np.bool_)
        for _, _, borne, _ in said:
            taken |= borne
        self._reading.know(tag.code, taken, {value: borne for value, _, borne, _ in said})
        found = [self._verdict(tag, value, rule, borne, score, taken) for value, rule, borne, score in said]
        told = {value for value, _, _, _ in said}
        gone = sorted(value for code, value in self._before if code == tag.code and value not in told)
        nobody = np.zeros(self._facts.customers, dtype=np.bool_)
        known_values = {case.value for case in tag.cases}
        found += [
            self._verdict(tag, value, None, nobody, np.ones(len(nobody)), taken)
            for value in gone
            if tag.kind == "value" or value in known_values
        ]
        return found

    def _cases(self, tag: Tag) -> list[_Said]:
        """The first case that holds, for every customer."""
        free = np.ones(self._facts.customers, dtype=np.bool_)
        found: list[_Said] = []
        for case in tag.cases:
            holds = self._reading.holds(case.rule)
            kept = self._held(tag.code, case.value)
            if tag.kind == "flag" and tag.hysteresis < 1 and kept.any():
                holds = holds | (kept & self._reading.holds(loosened(case.rule, tag.hysteresis)))
            borne = free & holds
            free &= ~borne
            found.append((case.value, case.rule, borne, self._confidence(case.rule)))
        return found

    def _scored(self, tag: Tag) -> _Said:
        """The weighted share of the leaves that hold; who reaches `least` (any share above 0 when none is set)."""
        weights = sum(case.weight for case in tag.cases)
        score = np.zeros(self._facts.customers)
        for case in tag.cases:
            score += np.where(self._reading.holds(case.rule), case.weight / weights, 0.0)
        held = self._held(tag.code, "")
        borne = (score > 0) & (score >= np.where(held, tag.least * tag.hysteresis, tag.least) - 1e-12)
        return "", None, borne, np.minimum(score, 1.0)

    def _words(self, tag: Tag) -> list[tuple[str, Flags]]:
        """A value tag's words; nobody bears it who lacks one of its parts."""
        words = np.full(self._facts.customers, "", dtype=object)
        has = np.ones(self._facts.customers, dtype=np.bool_)
        for part in tag.parts:
            piece = self._piece(part)
            has &= piece != ""
            words = words + piece
        return [(value, has & (words == value)) for value in sorted(set(words[has].tolist()))]

    def _piece(self, part: Part) -> npt.NDArray[np.object_]:
        if part.role:
            source = {"town": self._facts.places.town, "place_class": self._facts.places.class_code}
            names = np.array([*source.get(part.attribute, self._facts.places.place_id), ""], dtype=object)
            return np.asarray(names[self._facts.anchors[part.role].place])  # -1 is the last: no place, no word
        if part.top is not None:
            return self._reading.top_town(part.top)
        if part.column:
            return self._facts.columns[part.column].astype(object)
        return np.full(self._facts.customers, part.text, dtype=object)

    def _confidence(self, rule: Rule) -> Floats:
        """How sure a flag is: as sure as the least sure of the anchors that its rule rests on; 1 without any."""
        sure = np.ones(self._facts.customers)
        for leaf in leaves(rule):
            if isinstance(leaf, Anchored) and leaf.exists:
                anchors = self._facts.anchors[leaf.role]
                sure = np.where(anchors.exists, np.minimum(sure, anchors.confidence), sure)
        return sure

    def _held(self, code: str, value: str) -> Flags:
        """Who bears it by the run before, and has not lost it by now."""
        held = np.zeros(self._facts.customers, dtype=np.bool_)
        earlier = self._before.get((code, value))
        if earlier is not None:
            held[earlier.bearers[earlier.expire_day > self._today]] = True
        return held

    def _verdict(self, tag: Tag, value: str, rule: Rule | None, borne: Flags, score: Floats, taken: Flags) -> Verdict:
        bearers = np.flatnonzero(borne)
        landmark = self._landmark(tag)[bearers]
        evidence = self._evidence(tag, rule, bearers, landmark, taken)
        from_day = np.full(self._facts.customers, self._today, dtype=np.int64)
        earlier = self._before.get((tag.code, value))
        if earlier is None:
            expire_day = np.full(len(bearers), self._today + tag.ttl_days, dtype=np.int64)
            return Verdict(tag, value, bearers, evidence, landmark, score[bearers], from_day[bearers], expire_day)
        lasting = earlier.expire_day > self._today
        from_day[earlier.bearers[lasting]] = earlier.from_day[lasting]
        carried = np.flatnonzero(lasting & ~taken[earlier.bearers] & ~self._refuted(tag)[earlier.bearers])
        who = np.concatenate([bearers, earlier.bearers[carried]])
        order = np.argsort(who, kind="stable")
        texts = pa.array([*evidence.to_pylist(), *(earlier.evidence[row] for row in carried.tolist())], pa.string())
        confirmed = np.full(len(bearers), self._today + tag.ttl_days, dtype=np.int64)
        return Verdict(
            tag,
            value,
            who[order],
            pc.take(texts, pa.array(order)),
            np.concatenate([landmark, earlier.landmark[carried]])[order],
            np.concatenate([score[bearers], earlier.score[carried]])[order],
            from_day[who[order]],
            np.concatenate([confirmed, earlier.expire_day[carried]])[order],
        )

    def _evidence(
        self, tag: Tag, rule: Rule | None, bearers: Ints, landmark: npt.NDArray[np.int32], taken: Flags
    ) -> pa.Array:
        """The lines of the bearers. Those of a value tag say the same whatever the value, and are made once for all."""
        if tag.kind != "value":
            return lines(self._reading, tag, rule, bearers, landmark)
        if tag.code not in self._told:
            everybody = np.flatnonzero(taken)
            self._told = {tag.code: lines(self._reading, tag, rule, everybody, self._landmark(tag)[everybody])}
        return pc.take(self._told[tag.code], pa.array(np.cumsum(taken)[bearers] - 1))

    def _refuted(self, tag: Tag) -> Flags:
        """Who has an anchor now that the tag's rule does not accept: then it is not unconfirmed but wrong."""
        refuted = np.zeros(self._facts.customers, dtype=np.bool_)
        for part in tag.parts:
            if part.role:
                refuted |= self._facts.anchors[part.role].exists
        for case in tag.cases:
            for leaf in leaves(case.rule):
                if isinstance(leaf, Anchored) and leaf.exists:
                    refuted |= self._facts.anchors[leaf.role].exists & ~self._reading.holds(leaf)
        return refuted

    def _landmark(self, tag: Tag) -> npt.NDArray[np.int32]:
        """The key building shown with a tag; -1 for none."""
        if tag.landmark_role:
            return self._facts.anchors[tag.landmark_role].place
        asked = landmark_of(tag)
        return self._facts.landmarks[asked] if asked else self._nowhere
