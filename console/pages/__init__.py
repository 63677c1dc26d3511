"""Every page of the site, by group; the groups are the four platforms and what lies under all of them."""

from __future__ import annotations

from collections.abc import Sequence

from console.page import Page
from console.pages import campaigns, customers, data, home, models, moments, points, reports, slots, system

ALL: Sequence[Page] = (
    *home.PAGES,
    *customers.PAGES,
    *models.PAGES,
    *campaigns.PAGES,
    *moments.PAGES,
    *slots.PAGES,
    *points.PAGES,
    *data.PAGES,
    *reports.PAGES,
    *system.PAGES,
)
MENU: Sequence[tuple[str, Sequence[Page]]] = tuple(
    (group, tuple(page for page in ALL if page.group == group and page.listed))
    for group in dict.fromkeys(page.group for page in ALL)
)
