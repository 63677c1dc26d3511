"""Mining projects."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.recommend import v1
from services.kit import paging
from services.kit.errors import bad_page_token, invalid_field
from services.kit.idempotency import key_of
from services.recommend.domain.project import Project, Step, blank_steps
from services.recommend.usecases import Projects

Context = grpc.aio.ServicerContext[Any, Any]

_READERS = frozenset({"viewer", "operator", "service"})
RIGHTS: Mapping[str, frozenset[str]] = {
    "CreateProject": frozenset({"operator"}),
    "GetProject": _READERS,
    "ListProjects": _READERS,
    "UpdateProjectStep": frozenset({"operator"}),
}


@dataclass(frozen=True)
class ProjectsApi:
    """The methods about mining projects."""

    projects: Projects

    async def CreateProject(self, request: v1.CreateProjectRequest, context: Context) -> v1.CreateProjectResponse:
        """Begin a record."""
        made = await self.projects.create(key_of(request, context), _project_of(request.project))
        return v1.CreateProjectResponse(project=_project(made))

    async def GetProject(self, request: v1.GetProjectRequest, context: Context) -> v1.GetProjectResponse:
        """One project."""
        return v1.GetProjectResponse(project=_project(await self.projects.project(request.project_id)))

    async def ListProjects(self, request: v1.ListProjectsRequest, context: Context) -> v1.ListProjectsResponse:
        """Projects by review."""
        size, after = paging.clamp(request.page_size), _place(request.page_token)
        until = day_of(request.review_until, "review_until") if request.HasField("review_until") else None
        found = await self.projects.page(until, after, size + 1)
        last = found[size - 1] if len(found) > size else None
        token = paging.encode({"after": [last.review_date.isoformat(), last.project_id]}) if last else ""
        return v1.ListProjectsResponse(projects=map(_project, found[:size]), next_page_token=token)

    async def UpdateProjectStep(
        self, request: v1.UpdateProjectStepRequest, context: Context
    ) -> v1.UpdateProjectStepResponse:
        """Report a step."""
        review = day_of(request.review_date, "review_date") if request.HasField("review_date") else None
        found = await self.projects.report(key_of(request, context), request.project_id, _step_of(request.step), review)
        return v1.UpdateProjectStepResponse(project=_project(found))


def day_of(told: Date, name: str) -> date:
    """A day. Raises invalid_field."""
    try:
        return date(told.year, told.month, told.day)
    except ValueError:
        raise invalid_field([(name, "is no day")]) from None


def _place(token: str) -> tuple[date, str] | None:
    if not token:
        return None
    match paging.decode(token).get("after"):
        case [str() as day, str() as project_id]:
            return date.fromisoformat(day), project_id
    raise bad_page_token()


def _project_of(told: v1.Project) -> Project:
    return Project(
        "",
        told.name,
        told.owner,
        told.goal,
        tuple(told.model_ids),
        day_of(told.review_date, "project.review_date"),
        blank_steps(),
        datetime.min.replace(tzinfo=UTC),
    )


def _step_of(told: v1.ProjectStep) -> Step:
    kind = v1.ProjectStep.Kind.Name(told.kind).removeprefix("KIND_")
    return Step(kind, dict(told.artefacts), told.author, told.note, told.done)


def _project(each: Project) -> v1.Project:
    return v1.Project(
        project_id=each.project_id,
        name=each.name,
        owner=each.owner,
        goal=each.goal,
        model_ids=each.model_ids,
        review_date=Date(year=each.review_date.year, month=each.review_date.month, day=each.review_date.day),
        steps=map(_step, each.steps),
        create_time=_time(each.create_time),
    )


def _step(each: Step) -> v1.ProjectStep:
    return v1.ProjectStep(
        kind=v1.ProjectStep.Kind.Value(f"KIND_{each.kind}"),
        artefacts=each.artefacts,
        author=each.author,
        note=each.note,
        done=each.done,
        missing=each.missing,
        update_time=_time(each.update_time),
    )


def _time(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
