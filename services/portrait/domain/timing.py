"""When, where and through which channel a customer is best spoken to (场景、时段、波峰波谷).

A time is a slot of a kind of day. Its score is the product of three parts, each between 0 and 1:

- presence: on what share of the days seen he spends most of the slot at one class of places (the scene);
- ease: how free people are for a word in such a scene, halved at the hours at which the scene is crowded (波峰);
- answer: his share of answered contacts in that slot, drawn to everybody's by `PRIOR` contacts (the mean of a Beta
  posterior whose prior has that weight).

A channel's answer is estimated the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.portrait.domain.calendar import SLOT_HOURS, SLOTS

PRIOR = 4.0
EASE: Mapping[str, float] = {
    "res": 1.0, "lei": 0.9, "food": 0.8, "biz": 0.8, "fun": 0.7, "spo": 0.6, "cul": 0.6, "svc": 0.6, "tra": 0.5,
    "off": 0.4, "ind": 0.3, "edu": 0.3, "med": 0.2,
}  # fmt: skip
"""By branch of the place classes; one that is not named counts 0.5."""
REST_SLOTS = ("late", "early")
"""Nobody is contacted in these."""
_CROWDED = 0.5


@dataclass(frozen=True)
class Stay:
    """A customer's dwell of one kind of day and slot in one class of places: on how many of the days seen."""

    day_type: str
    slot: str
    place_class: str
    days: int
    seconds: int
    days_seen: int


@dataclass(frozen=True)
class Answers:
    """Contacts and answered ones."""

    contacts: int = 0
    answered: int = 0

    def share(self, everybody: "Answers") -> float:
        """The share of answered ones, drawn to everybody's; one half when nobody was ever contacted."""
        prior = everybody.answered / everybody.contacts if everybody.contacts else 0.5
        return (self.answered + PRIOR * prior) / (self.contacts + PRIOR)


@dataclass(frozen=True)
class Time:
    """A time to speak to a customer, with what it rests on."""

    day_type: str
    slot: str
    from_hour: int
    to_hour: int
    scene: str
    score: float
    presence: float
    answer: float
    crowded: bool


@dataclass(frozen=True)
class Channel:
    """A channel, with the share of contacts through it that are answered, and how many there were."""

    channel: str
    answer: float
    contacts: int


def slot_of(hour: int) -> str:
    """The slot of a local hour."""
    return next(name for name, begin in reversed(list(zip(SLOTS, SLOT_HOURS, strict=True))) if hour >= begin)


def times(
    stays: Sequence[Stay],
    peaks: Mapping[tuple[str, str], frozenset[int]],
    mine: Mapping[str, Answers],
    everybody: Mapping[str, Answers],
    most: int,
) -> list[Time]:
    """The best times, the best first. `peaks` are the crowded hours by day type and class; answers are by slot."""
    ends = (*SLOT_HOURS[1:], 24)
    found = []
    for day_type, slot in sorted({(stay.day_type, stay.slot) for stay in stays if stay.slot not in REST_SLOTS}):
        here = [stay for stay in stays if (stay.day_type, stay.slot) == (day_type, slot)]
        stay = max(here, key=lambda each: (each.seconds, each.place_class))
        at = SLOTS.index(slot)
        begin, end = SLOT_HOURS[at], ends[at]
        busy = peaks.get((day_type, stay.place_class), frozenset())
        free = [hour for hour in range(begin, end) if hour not in busy]
        presence = stay.days / max(stay.days_seen, 1)
        answer = mine.get(slot, Answers()).share(everybody.get(slot, Answers()))
        ease = EASE.get(stay.place_class.partition(".")[0], 0.5) * (1.0 if free else _CROWDED)
        first, last = _longest(free) if free else (begin, end)
        score = presence * ease * answer
        found.append(Time(day_type, slot, first, last, stay.place_class, score, presence, answer, not free))
    return sorted(found, key=lambda time: (-time.score, time.day_type, time.from_hour))[:most]


def channels(mine: Mapping[str, Answers], everybody: Mapping[str, Answers]) -> list[Channel]:
    """The channels that anybody was contacted through, the one most likely to be answered first."""
    found = [
        Channel(name, mine.get(name, Answers()).share(of_all), mine.get(name, Answers()).contacts)
        for name, of_all in everybody.items()
        if name
    ]
    return sorted(found, key=lambda each: (-each.answer, each.channel))


def _longest(hours: Sequence[int]) -> tuple[int, int]:
    """The longest run of neighbouring hours as [from, to), the first of several."""
    best, begin = (hours[0], hours[0] + 1), hours[0]
    for before, hour in zip(hours, [*hours[1:], -1], strict=True):
        if hour != before + 1:
            if before + 1 - begin > best[1] - best[0]:
                best = (begin, before + 1)
            begin = hour
    return best
