"""The organisation tree (机构树): province › city › district › grid."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.admin import refusals

LEVELS = ("province", "city", "district", "grid")


@dataclass(frozen=True)
class Organisation:
    """One organisation; `parent_org_id` is "" at the top."""

    org_id: str
    parent_org_id: str
    level: str
    name: str
    disabled: bool = False


def place(new: Organisation, known: Mapping[str, Organisation]) -> None:
    """Check where an organisation is to stand among those that are known. Raises organisation_misplaced.

    A parent stands at a higher level (a step may be left out: a city without districts has grids), so no ring can be.
    """
    if not new.parent_org_id:
        return
    parent = known.get(new.parent_org_id)
    if parent is None:
        raise refusals.organisation_misplaced(new.org_id, new.parent_org_id, "there is no such organisation")
    if LEVELS.index(parent.level) >= LEVELS.index(new.level):
        why = f"a {new.level} cannot stand below a {parent.level}"
        raise refusals.organisation_misplaced(new.org_id, new.parent_org_id, why)
    lower = [each for each in known.values() if each.parent_org_id == new.org_id]
    if any(LEVELS.index(each.level) <= LEVELS.index(new.level) for each in lower):
        why = f"it would be a {new.level} above {lower[0].org_id}, which is a {lower[0].level}"
        raise refusals.organisation_misplaced(new.org_id, new.parent_org_id, why)
