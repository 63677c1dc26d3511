"""What can be owned, who owns it, and who would accept it: the planted truth that a recommender has to find.

One affinity (a logit) per customer and product is linear in features that the operator sees (age, income by its traces,
data and voice usage, 5G phone, role) and in latent tastes, which show only in other holdings and in leisure. Ownership
is drawn from it; acceptance of what is not owned grows with it.
"""

from dataclasses import dataclass

import numpy as np

from city.accounts import Accounts
from city.dice import Dice, Flags, Floats, Ints
from city.people import ACTIVE, LEFT, ROLES, People
from city.tables import TASTES, Days, column, numbers

PRODUCTS = tuple(column("products", "product_id"))
FEATURES = ("age", "income", "data", "voice", "phone5g", "parent", "traveller", "student", *TASTES)
ORGANIC_SHARE = 0.2  # of the acceptance probability: opening without any contact
NEVER = -50.0  # the affinity of people who left
MONTHLY_OPENING = 0.25  # of the acceptance probability: opening in the generated month (one at most)


@dataclass(frozen=True)
class Holdings:
    """Arrays of shape (people, products): what was held at the start, what is affine, who could open what."""

    affinity: Floats
    at_start: Flags
    opened: Flags
    cancelled: Flags

    @property
    def at_end(self) -> Flags:
        """What is held on the last generated day."""
        return (self.at_start | self.opened) & ~self.cancelled

    def acceptance(self) -> Floats:
        """The probability that a reached customer accepts an offered product; zero where it cannot be opened."""
        return np.where(eligible(self.at_end), acceptance(self.affinity), 0.0)


def acceptance(affinity: Floats) -> Floats:
    """Acceptance from affinity: logistic, flatter and lower than ownership."""
    return 1.0 / (1.0 + np.exp(1.2 - 0.95 * affinity))


def eligible(held: Flags) -> Flags:
    """Products that are not held, whose prerequisite is held and of whose exclusive group nothing is held."""
    free = ~held
    groups = np.array(column("products", "exclusive_group"))
    for product, required in enumerate(column("products", "requires_product_id")):
        if required:
            free[:, product] &= held[:, PRODUCTS.index(required)]
        if groups[product]:
            free[:, product] &= ~held[:, groups == groups[product]].any(axis=1)
    return free


def hold(people: People, accounts: Accounts, dice: Dice, days: Days) -> Holdings:
    """Draws ownership and what was opened and cancelled in the generated month; who left holds nothing."""
    who, product = np.arange(len(people))[:, None], np.arange(len(PRODUCTS))
    staying = (people.status != LEFT)[:, None]
    affinity = np.where(staying, _affinity(people, accounts, days), NEVER)
    held = staying & (dice.uniform("owns", who, product) < 1.0 / (1.0 + np.exp(-affinity)))
    held = _allowed(held, affinity)
    chance = np.where(eligible(held) & (people.status == ACTIVE)[:, None], acceptance(affinity) * MONTHLY_OPENING, 0.0)
    luck = dice.uniform("opens", who, product) / np.maximum(chance, 1e-12)
    opened = (luck < 1.0) & (luck == luck.min(axis=1, keepdims=True))
    # Nothing is cancelled on which something else depends.
    needed = np.zeros_like(held)
    for number, required in enumerate(column("products", "requires_product_id")):
        if required:
            needed[:, PRODUCTS.index(required)] |= held[:, number] | opened[:, number]
    cancelled = held & ~needed & (dice.uniform("cancels", who, product) < 0.006)
    refunded = opened & ~needed & (dice.uniform("refunds", who, product) < 0.10)
    return Holdings(affinity, held, opened, cancelled | refunded)


def _affinity(people: People, accounts: Accounts, days: Days) -> Floats:
    def last_month(values: Ints) -> Floats:
        return np.log(np.maximum(values[:, -1], 1).astype(np.float64))

    # Fixed centres and widths: a customer's affinity must not depend on who else is in the city.
    features = {
        "age": (days.start.year - people.birth_year - 38) / 14.0,
        "income": accounts.income,
        "data": np.clip((last_month(accounts.data_mb) - 9.0) / 0.8, -3, 3),
        "voice": np.clip((last_month(accounts.voice_minutes) - 4.9) / 0.7, -3, 3),
        "phone5g": accounts.phone_5g.astype(np.float64),
        "parent": people.parent.astype(np.float64),
        "traveller": people.traveller.astype(np.float64),
        "student": (people.role == ROLES.index("student")).astype(np.float64),
        **{name: people.tastes[:, index] for index, name in enumerate(TASTES)},
    }
    design = np.column_stack([features[name] for name in FEATURES])
    weights = np.vstack([numbers("products", name) for name in FEATURES])
    # Summed term by term: a matrix product may differ in its last bit from one library to another.
    logit = np.tile(numbers("products", "base"), (len(people), 1))
    for number in range(len(FEATURES)):
        logit += design[:, number, None] * weights[number]
    return logit


def _allowed(held: Flags, affinity: Floats) -> Flags:
    """Removes what lacks its prerequisite, and all but the dearest wish of an exclusive group."""
    held = held.copy()
    groups = np.array(column("products", "exclusive_group"))
    for group in set(groups.tolist()) - {""}:
        members = np.flatnonzero(groups == group)
        wish = np.where(held[:, members], affinity[:, members], -np.inf)
        held[:, members] &= wish == wish.max(axis=1, keepdims=True)
    for product, required in enumerate(column("products", "requires_product_id")):
        if required:
            held[:, product] &= held[:, PRODUCTS.index(required)]
    return held
