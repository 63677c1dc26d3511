"""A worse map than the city's own: wrong rows, and cells that really serve the people of two places.

Its draws come from streams of their own, so that the other files of a seed stay as they are byte for byte; sharing
changes which cell serves whom, and with it the signalling.
"""

import numpy as np

from city.dice import Dice, Flags, Ints
from city.world import AWAY, World


def wrong_rows(dice: Dice, rows: int, share: float) -> Flags:
    """Which rows of the map are wrong."""
    return np.asarray(dice.uniform("map.wrong", np.arange(rows)) < share)


def wrong_places(dice: Dice, stated: Ints, places: int) -> Ints:
    """Another place for each row, any of the city's with equal chance."""
    step = 1 + (dice.bits("map.place", np.arange(len(stated))) % np.uint64(places - 1)).astype(np.int64)
    return np.asarray((stated + step) % places)


def served_by(world: World, dice: Dice, share: float) -> Ints:
    """For each cell the cell that really does its work: itself, or that of the nearest other place.

    A share of the places has one cell less; people who would be served by it use the neighbour's first cell, which so
    serves two places.
    """
    alias = np.arange(len(world.lac))
    if share <= 0:
        return alias
    edges = world.place_cells
    count = np.diff(edges)
    away = (world.lon[:, None] - world.lon) ** 2 + (world.lat[:, None] - world.lat) ** 2
    np.fill_diagonal(away, np.inf)
    nearest = np.argmin(away, axis=1)
    chosen = dice.uniform("map.shared", np.arange(len(count))) < share
    lender = np.zeros(len(count), dtype=bool)
    for place in np.flatnonzero(chosen).tolist():
        if not lender[place] and count[place] > 1:
            alias[edges[place]] = edges[nearest[place]]
            lender[nearest[place]] = True
    return np.where(alias[alias] == alias, alias, np.arange(len(alias)))


def shared_with(world: World, alias: Ints) -> dict[int, int]:
    """Cells that serve a second place by `alias`, with that place."""
    owner = np.full(len(alias), AWAY)
    owner[: world.place_cells[-1]] = np.repeat(np.arange(len(world.lon)), np.diff(world.place_cells))
    moved = np.flatnonzero(alias != np.arange(len(alias)))
    return {int(alias[cell]): int(owner[cell]) for cell in moved.tolist()}
