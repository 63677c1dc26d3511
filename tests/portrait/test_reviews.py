"""The catalogue of features as it is listed, and what is in force with the day of its next review."""

from datetime import UTC
from typing import Any

import structlog

from lifecircle.portrait import v1
from services.kit.db import Database
from services.portrait.store import Moments, Tags
from services.portrait.store.latent import Latent
from services.portrait.usecases.reviews import ReviewDesk
from tests.fixtures.serving import Served
from tests.portrait.desks import shelf
from tests.portrait.test_curation import NOW, PublishedRun, computed, published, served, stub

__all__ = ["computed", "published", "served", "stub"]  # fixtures


async def test_the_feature_catalogue_is_listed_page_by_page(stub: Any, published: PublishedRun) -> None:
    """R000-034: with its version, and whatever number a portrait shows is an entry of it."""
    request, names = v1.ListFeaturesRequest(page_size=500), []
    first = await stub("ann").ListFeatures(request)
    assert first.catalogue_version
    assert {"worth.tier", "anchors"} <= {each.field for each in first.portrait}
    assert first.features[0].path[0] == first.features[0].type
    while True:
        page = await stub("ann").ListFeatures(request)
        names += [each.name for each in page.features]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert len(names) == len(set(names)) >= 833
    shown = {name for name in published.table("features").columns if not name.startswith("tag_")}
    assert shown <= set(names)


async def test_what_is_in_force_is_due_for_review_and_reminded_of(stub: Any, served: Served, db: Database) -> None:
    """R001-024: tags have a day of review; one whose day has passed is told as overdue, in the list and in the log."""
    ann = stub("ann")
    every = (await ann.ListReviews(v1.ListReviewsRequest(page_size=1000))).reviews
    codes = {each.name for each in every if each.kind == v1.Review.KIND_TAG}
    assert {"HU01", "VA01"} <= codes
    assert not any(each.overdue for each in every)
    assert list((await ann.ListReviews(v1.ListReviewsRequest(overdue=True))).reviews) == []
    page = await ann.ListReviews(v1.ListReviewsRequest(page_size=3))
    rest = await ann.ListReviews(v1.ListReviewsRequest(page_size=1000, page_token=page.next_page_token))
    assert [*page.reviews, *rest.reviews] == list(every)
    later = ReviewDesk(
        db, Tags(), Latent(), Moments(), shelf(db, lambda: NOW), lambda: NOW.replace(year=2028, tzinfo=UTC)
    )
    found, _ = await later.page(0, 1000, overdue=True)
    assert {each.name for each in found} == codes
    with structlog.testing.capture_logs() as told:
        await later.remind()
        await later.remind()
    assert sorted(each["name"] for each in told if each["event"] == "review_overdue") == sorted(codes), "once a day"
