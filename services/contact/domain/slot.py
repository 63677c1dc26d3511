"""Slots (运营位): what may be shown where and when, in turn or by priority; else the default, with its reason."""

import hashlib
import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.contact.domain.experiment import newcombe, wilson
from services.contact.refusals import not_four_eyes, page_not_pushed, slot_invalid, slot_state

DATA, PAGE = "DATA", "PAGE"
ROTATE, PRIORITY = "ROTATE", "PRIORITY"
VALID, DISABLED = "VALID", "DISABLED"
DRAFT, APPROVED, WITHDRAWN = "DRAFT", "APPROVED", "WITHDRAWN"
PUSHED, ACKNOWLEDGED, EXPIRED = "PUSHED", "ACKNOWLEDGED", "EXPIRED"
APPROVE, WITHDRAW, ACKNOWLEDGE = "APPROVE", "WITHDRAW", "ACKNOWLEDGE"
EXPOSURE, CLICK, LOGIN, HANDLING, ACTIVATION, VISIT = "EXPOSURE", "CLICK", "LOGIN", "HANDLING", "ACTIVATION", "VISIT"

UNKNOWN, SLOT_DISABLED, CHANNEL_DISABLED = "slot unknown", "slot disabled", "channel disabled"
NOTHING_DUE = "nothing due"
"""Reasons why a default is shown."""

LEAST_EXPOSURES = 500
"""Contents are compared by their clicks from so many exposures on, each."""


@dataclass(frozen=True)
class Slot:
    """A place for content; a size of 0 × 0 is a slot of text."""

    slot_id: str
    name: str
    channel: str
    width_px: int
    height_px: int
    form: str
    choice: str
    default_content: str
    state: str = VALID
    create_time: datetime | None = None


@dataclass(frozen=True)
class Picture:
    """Advertising material under its code."""

    code: str
    width_px: int
    height_px: int
    sha256: str


@dataclass(frozen=True)
class Content:
    """A version of what a slot shows."""

    content_id: str
    slot_id: str
    name: str
    version: int
    pitch: str
    picture_code: str
    campaign_id: str
    product_id: str
    author: str
    state: str = DRAFT


@dataclass(frozen=True)
class Schedule:
    """When a content is shown, [start, end); `moment` "" is always, else only at events of the type."""

    schedule_id: str
    slot_id: str
    content_id: str
    start_time: datetime
    end_time: datetime
    priority: int
    weight: int
    exclusive: bool
    moment: str
    cancelled: bool = False

    def due(self, now: datetime, moment: str) -> bool:
        """Whether its content may be shown now, at an event of this type ("" for none)."""
        return not self.cancelled and self.start_time <= now < self.end_time and self.moment in ("", moment)


@dataclass(frozen=True)
class Showing:
    """What a slot shows; `content` None is the default, with the reason."""

    slot_id: str
    slot: Slot | None
    content: Content | None
    reason: str = ""


@dataclass(frozen=True)
class Push:
    """Contents given to a channel in advance."""

    push_id: str
    slot_id: str
    channel: str
    state: str
    content_ids: tuple[str, ...]
    sha256: str
    create_time: datetime
    expire_time: datetime

    def state_at(self, now: datetime) -> str:
        """Its state; what was not withdrawn expires by itself."""
        return EXPIRED if self.state != WITHDRAWN and self.expire_time <= now else self.state


@dataclass(frozen=True)
class SlotEvent:
    """Something that a customer did at a slot; customer_key 0 is nobody known, grant_id names what was decided."""

    event_id: str
    kind: str
    slot_id: str
    content_id: str
    customer_key: int
    event_time: datetime
    worth_fen: int
    page: str
    grant_id: str = ""


@dataclass(frozen=True)
class Value:
    """What a slot or a content brought."""

    slot_id: str
    content_id: str
    exposures: int
    clicks: int
    logins: int
    handlings: int
    activations: int
    visits: int
    income_fen: int

    @property
    def click_rate(self) -> float:
        """Clicks / exposures."""
        return self.clicks / self.exposures if self.exposures else 0.0

    @property
    def conversion_rate(self) -> float:
        """Activations / clicks."""
        return self.activations / self.clicks if self.clicks else 0.0


@dataclass(frozen=True)
class Suggestion:
    """A change of the rules that clicks speak for."""

    slot_id: str
    content_id: str
    better_content_id: str
    text: str
    difference_low: float


@dataclass(frozen=True)
class Board:
    """All slots with what is scheduled in them, as of one look; contents are the approved ones."""

    slots: Mapping[str, Slot]
    contents: Mapping[str, Content]
    schedules: Mapping[str, Sequence[Schedule]]
    disabled_channels: frozenset[str] = frozenset()

    def due(self, slot_id: str, now: datetime, moment: str = "") -> list[Schedule]:
        """What may be shown in a slot now, the highest priority first, then the earliest, then by id."""
        found = [one for one in self.schedules.get(slot_id, ()) if one.content_id in self.contents]
        return sorted(
            (one for one in found if one.due(now, moment)),
            key=lambda one: (-one.priority, one.start_time, one.schedule_id),
        )

    def reason(self, slot_id: str) -> str:
        """Why a slot shows its default whatever is due; "" when it does not."""
        slot = self.slots.get(slot_id)
        if slot is None:
            return UNKNOWN
        if slot.state != VALID:
            return SLOT_DISABLED
        return CHANNEL_DISABLED if slot.channel in self.disabled_channels else ""


@dataclass
class Rotation:
    """Whose turn it is, slot by slot: smooth weighted round robin, as nginx balances its peers.

    Over any number of calls every content is shown as often as its weight says, to within one showing.
    """

    _credit: dict[str, dict[str, int]] = field(default_factory=dict)

    def order(self, slot_id: str, due: Sequence[Schedule]) -> list[Schedule]:
        """The schedules by whose turn is next; nobody's turn is used up before take()."""
        credit = self._credit.get(slot_id, {})
        waiting = {one.schedule_id: credit.get(one.schedule_id, 0) + one.weight for one in due}
        return sorted(due, key=lambda one: (-waiting[one.schedule_id], one.schedule_id))

    def take(self, slot_id: str, due: Sequence[Schedule], shown: Schedule) -> None:
        """One of them was shown."""
        credit = self._credit.get(slot_id, {})
        after = {one.schedule_id: credit.get(one.schedule_id, 0) + one.weight for one in due}
        after[shown.schedule_id] -= sum(one.weight for one in due)
        self._credit[slot_id] = after


def showings(board: Board, rotation: Rotation, slot_ids: Sequence[str], now: datetime, moment: str) -> list[Showing]:
    """What the slots show now, in their order; no content and no product is shown twice."""
    used: set[str] = set()
    found = []
    for slot_id in slot_ids:
        showing = _showing(board, rotation, slot_id, now, moment, used)
        if showing.content is not None:
            used |= {f"content {showing.content.name}", f"product {showing.content.product_id or showing.content.name}"}
        found.append(showing)
    return found


def _showing(
    board: Board, rotation: Rotation, slot_id: str, now: datetime, moment: str, used: Collection[str]
) -> Showing:
    slot, reason = board.slots.get(slot_id), board.reason(slot_id)
    if slot is None or reason:
        return Showing(slot_id, slot, None, reason)
    due = board.due(slot_id, now, moment)
    ordered = due if slot.choice == PRIORITY else rotation.order(slot_id, due)
    for schedule in ordered:
        content = board.contents[schedule.content_id]
        if not {f"content {content.name}", f"product {content.product_id or content.name}"} & set(used):
            rotation.take(slot_id, due, schedule)
            return Showing(slot_id, slot, content)
    return Showing(slot_id, slot, None, NOTHING_DUE)


def fitting(content: Content, slot: Slot, picture: Picture | None) -> Content:
    """The content, if it fits its slot. Raises slot_invalid."""
    pictured = slot.width_px > 0 and slot.height_px > 0
    if content.picture_code and picture is None:
        raise slot_invalid("content.picture_code", "names no picture that is registered")
    if pictured and picture is None:
        raise slot_invalid("content.picture_code", f"is needed by the slot of {slot.width_px} × {slot.height_px}")
    if picture is not None and (picture.width_px, picture.height_px) != (slot.width_px, slot.height_px):
        size = f"{picture.width_px} × {picture.height_px}, the slot {slot.width_px} × {slot.height_px}"
        raise slot_invalid("content.picture_code", f"names a picture of {size}")
    if any(mark in content.pitch for mark in "\r\n"):
        raise slot_invalid("content.pitch", "must be one line")
    return content


def content_moved(content: Content, verb: str, actor: str) -> str:
    """The content's next state. Raises slot_state, not_four_eyes."""
    allowed = {APPROVE: (DRAFT,), WITHDRAW: (DRAFT, APPROVED)}[verb]
    if content.state not in allowed:
        raise slot_state("content", content.content_id, content.state)
    if verb == APPROVE and actor == content.author:
        raise not_four_eyes(f"content {content.content_id}", actor)
    return APPROVED if verb == APPROVE else WITHDRAWN


def push_moved(push: Push, verb: str, now: datetime) -> str:
    """The push's next state; both verbs may be said twice. Raises slot_state."""
    state = push.state_at(now)
    if verb == WITHDRAW and state != EXPIRED:
        return WITHDRAWN
    if verb == ACKNOWLEDGE and state in (PUSHED, ACKNOWLEDGED):
        return ACKNOWLEDGED
    raise slot_state("push", push.push_id, state)


def pushable(slot: Slot) -> Slot:
    """The slot, if what it shows may be given away in advance. Raises page_not_pushed."""
    if slot.form == PAGE:
        raise page_not_pushed(slot.slot_id)
    return slot


def overlapping(new: Schedule, others: Iterable[Schedule]) -> list[Schedule]:
    """The other schedules of its slot in the same span, of the same moment or of any."""
    return [
        one
        for one in others
        if not one.cancelled
        and one.slot_id == new.slot_id
        and one.start_time < new.end_time
        and new.start_time < one.end_time
        and (one.moment == new.moment or not one.moment or not new.moment)
    ]


def forbidden(new: Schedule, slot: Slot, overlaps: Iterable[Schedule]) -> list[Schedule]:
    """The overlaps that may not be: with an exclusive one, or of one priority in a slot by priority."""
    same = [one for one in overlaps if slot.choice == PRIORITY and one.priority == new.priority]
    return [one for one in overlaps if new.exclusive or one.exclusive or one in same]


def checksum(contents: Iterable[Content]) -> str:
    """SHA-256 over what a channel is to show, hex; the order does not matter."""
    digest = hashlib.sha256()
    for line in sorted(f"{one.content_id}|{one.pitch}|{one.picture_code}" for one in contents):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def preview(content: Content, slot: Slot | None) -> str:
    """The content as the slot shows it: HTML without script, all text escaped."""
    size = f' width="{slot.width_px}" height="{slot.height_px}"' if slot and slot.width_px else ""
    code = html.escape(content.picture_code, quote=True)
    picture = f'<img src="picture/{code}" alt=""{size}>' if content.picture_code else ""
    name, pitch = html.escape(content.content_id), html.escape(content.pitch)
    return f'<div class="slot" data-content="{name}">{picture}<p>{pitch}</p></div>'


def suggestions(values: Sequence[Value]) -> list[Suggestion]:
    """For each content that is clicked less than the best of its slot, beyond chance (95 %): show it less."""
    found = []
    for slot_id in dict.fromkeys(value.slot_id for value in values):
        seen = [one for one in values if one.slot_id == slot_id and one.content_id and one.exposures >= LEAST_EXPOSURES]
        best = max(seen, key=lambda one: (one.click_rate, one.content_id), default=None)
        for one in seen:
            if best is None or one is best:
                continue
            good = wilson(min(best.clicks, best.exposures), best.exposures)
            bad = wilson(min(one.clicks, one.exposures), one.exposures)
            _, low, _ = newcombe(good, bad)
            if low > 0:
                figures = f"{bad.rate:.2%} of {bad.trials} against {good.rate:.2%} of {good.trials}"
                text = f"show {one.content_id} less than {best.content_id}: clicked {figures}"
                found.append(Suggestion(slot_id, one.content_id, best.content_id, text, low))
    return found
