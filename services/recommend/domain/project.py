"""A mining project by the six steps of CRISP-DM (Chapman et al. 2000; R002-057, R002-011), the three of the marketing
that follows (R002-012), and what each must leave.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from services.recommend.refusals import step_incomplete

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "BUSINESS_UNDERSTANDING": ("objectives", "success_criteria"),
    "DATA_UNDERSTANDING": ("data_description", "data_quality"),
    "DATA_PREPARATION": ("data_set",),
    "MODELLING": ("model", "test_design"),
    "EVALUATION": ("assessment", "decision"),
    "DEPLOYMENT": ("deployment_plan", "monitoring_plan"),
    "SCHEME_DESIGN": ("opportunities", "scheme"),
    "SCHEME_IMPLEMENTATION": ("campaign",),
    "BENEFIT_EVALUATION": ("benefit",),
}
"""The steps in their order, each with the artefacts without which it is not over."""


@dataclass(frozen=True)
class Step:
    """One step as it was last reported."""

    kind: str
    artefacts: Mapping[str, str] = field(default_factory=dict)
    author: str = ""
    note: str = ""
    done: bool = False
    update_time: datetime | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The artefacts that it still lacks."""
        return tuple(name for name in REQUIRED[self.kind] if not self.artefacts.get(name, "").strip())


@dataclass(frozen=True)
class Project:
    """A project with all its steps, in their order."""

    project_id: str
    name: str
    owner: str
    goal: str
    model_ids: tuple[str, ...]
    review_date: date
    steps: tuple[Step, ...]
    create_time: datetime

    def reported(self, step: Step) -> "Project":
        """With this step in the place of the one that is there. Raises step_incomplete.

        A step that is opened again opens the steps after it: what they say rests on it.
        """
        place = tuple(REQUIRED).index(step.kind)
        if step.done and step.missing:
            raise step_incomplete(", ".join(step.missing))
        early = next((each.kind for each in self.steps[:place] if not each.done), "")
        if step.done and early:
            raise step_incomplete(early.lower())
        later = self.steps[place + 1 :]
        if not step.done:
            later = tuple(replace(each, done=False) for each in later)
        return replace(self, steps=(*self.steps[:place], step, *later))


def blank_steps() -> tuple[Step, ...]:
    """All steps, of which nothing is known."""
    return tuple(Step(kind) for kind in REQUIRED)
