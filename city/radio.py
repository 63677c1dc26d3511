"""What the network sees of a day: signalling rows of a block of customers, with the noise that real ones have.

Every arrival and departure makes a handover row; the way between two places is seen by road cells that serve no place;
by day the phone is seen about every twenty minutes, by night once an hour (the periodic update); now and then it hops
to a neighbouring cell and back within three minutes (ping-pong). Quiet phones miss most of this.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from city.dice import Bits, Dice, Flags, Ints
from city.lives import MIDNIGHT, Stays
from city.people import LEFT, People
from city.world import AWAY, ROAD_CELLS, World

HANDOVER, PERIODIC = 4, 5
PING_PONG = 8  # of 256 rows
QUIET_KEEPS, QUIET_MOVES = 0.10, 0.25
_NIGHT_HOURS, _PER_HOUR = 7, 4
_SLOT = np.concatenate(
    [np.arange(_NIGHT_HOURS) * 3600, _NIGHT_HOURS * 3600 + np.arange((24 - _NIGHT_HOURS) * _PER_HOUR) * 900]
)
_WIDTH = np.where(_SLOT < _NIGHT_HOURS * 3600, 500, 900)
# 256 equally likely draws: data 70 %, periodic update 13 %, call 12 %, message 5 %.
_BEHAVIOUR = np.repeat(np.array([3, PERIODIC, 1, 2], dtype=np.int8), [179, 33, 31, 13])


@dataclass(frozen=True)
class Signals:
    """Rows in the order of time (to the second or two): who is the customer's index, second that of the local day."""

    who: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    behaviour: npt.NDArray[np.int8]
    cell: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.who)


def cells_of(world: World, dice: Dice, stays: Stays) -> Ints:
    """The cell that serves each stay: a customer is served by the same cell whenever he comes to a place."""
    count = (world.place_cells[1:] - world.place_cells[:-1])[stays.place]
    draw = dice.bits("cell.of", stays.who, stays.place) % np.maximum(count, 1).astype(np.uint64)
    return np.asarray(world.place_cells[stays.place] + draw.astype(np.int64))


def signals(world: World, people: People, dice: Dice, who: Ints, day: int, stays: Stays) -> Signals:
    """The rows of the consecutive customers `who` on one day, whose stays of that day are given in order."""
    who = who[people.status[who] != LEFT]
    if not len(who):
        none = np.zeros(0, dtype=np.int32)
        return Signals(none, none, none.astype(np.int8), none)
    cell = cells_of(world, dice, stays)
    parts = [_presence(world, people, dice, who, day, stays, cell), *_moves(world, people, dice, day, stays, cell)]
    customer, second, behaviour, served = (np.concatenate(column) for column in zip(*parts, strict=True))
    # 65,536 slots a day: a two-byte key sorts by radix.
    order = np.argsort((second * 3 >> 2).astype(np.uint16), kind="stable")
    return Signals(
        customer[order].astype(np.int32),
        second[order].astype(np.int32),
        behaviour[order],
        (served if world.alias is None else world.alias[served])[order].astype(np.int32),
    )


_Rows = tuple[Ints, Ints, npt.NDArray[np.int8], Ints]


def _presence(world: World, people: People, dice: Dice, who: Ints, day: int, stays: Stays, cell: Ints) -> _Rows:
    bits = dice.bits("radio", who[:, None], day, np.arange(len(_SLOT)))
    offset = (dice.bits("radio.offset", who) % np.uint64(3000)).astype(np.int64)
    jitter = ((bits & np.uint64(0xFFFF)).astype(np.int64) * _WIDTH) >> 16
    second = _SLOT + jitter
    second[:, :_NIGHT_HOURS] += offset[:, None]
    keeps = np.broadcast_to(people.liveliness[who][:, None], bits.shape).copy()
    keeps[:, :_NIGHT_HOURS] = 1.0
    keeps[people.quiet[who]] = QUIET_KEEPS
    lot = ((bits >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.float64)
    kept = np.flatnonzero(lot < keeps * 65536)
    row, bits, second = kept // len(_SLOT), bits.ravel()[kept], second.ravel()[kept]
    behaviour = _BEHAVIOUR[((bits >> np.uint64(48)) & np.uint64(0xFF)).astype(np.int64)]
    behaviour[second < _NIGHT_HOURS * 3600] = PERIODIC
    stay, inside = _locate(stays, who, row, second)
    road = _road(world, stays.place[stay], bits)
    served = np.where(inside, cell[stay], road)
    here = ~(inside & (stays.place[stay] == AWAY))
    hops = np.flatnonzero(inside & here & (((bits >> np.uint64(32)) & np.uint64(0xFF)) < PING_PONG))
    hops = hops[stays.end[stay[hops]] - second[hops] > 300]
    back = second[hops] + 30 + ((bits[hops] >> np.uint64(40)) & np.uint64(0x7F)).astype(np.int64)
    home_cell = served[hops]
    served[hops] = world.neighbour[home_cell]
    return (
        np.concatenate([who[row[here]], who[row[hops]]]),
        np.concatenate([second[here], back]),
        np.concatenate([behaviour[here], np.full(len(hops), HANDOVER, dtype=np.int8)]),
        np.concatenate([served[here], home_cell]),
    )


def _locate(stays: Stays, who: Ints, row: Ints, second: Ints) -> tuple[Ints, Flags]:
    """The last stay that began before each instant, and whether it still lasts."""
    rank = np.searchsorted(who, stays.who)
    stay = np.searchsorted(rank * MIDNIGHT + stays.start, row * MIDNIGHT + second, side="right") - 1
    stay = np.maximum(stay, 0)
    return stay, (rank[stay] == row) & (second >= stays.start[stay]) & (second < stays.end[stay])


def _road(world: World, place: Ints, bits: Bits) -> Ints:
    draw = ((bits >> np.uint64(24)) % np.uint64(ROAD_CELLS)).astype(np.int64)
    return world.first_road + world.place_town[place] * ROAD_CELLS + draw


def _moves(world: World, people: People, dice: Dice, day: int, stays: Stays, cell: Ints) -> list[_Rows]:
    bits = dice.bits("radio.move", stays.who, day, stays.start)
    seen = (stays.place != AWAY) & (
        ~people.quiet[stays.who] | ((bits & np.uint64(0xFF)).astype(np.float64) < QUIET_MOVES * 256)
    )
    came = np.flatnonzero(seen & (stays.start > 0))
    left = np.flatnonzero(seen & (stays.end < MIDNIGHT - 60))
    delay = ((bits[left] >> np.uint64(8)) & np.uint64(0x1F)).astype(np.int64)
    handover = np.full(len(seen), HANDOVER, dtype=np.int8)
    return [
        (stays.who[came], stays.start[came], handover[: len(came)], cell[came]),
        (stays.who[left], stays.end[left] + delay, handover[: len(left)], _road(world, stays.place[left], bits[left])),
    ]
