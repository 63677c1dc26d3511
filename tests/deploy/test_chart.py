"""The chart through a real Helm: lint, what its examples render to, Kubernetes' own schemas, and typos refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.k8s import chart

VERSIONS = ("1.29", "1.37")
CORE = re.compile(r"v1|apps/v1|batch/v1|policy/v1|autoscaling/v2|networking\.k8s\.io/v1")
OPTIONS = {
    "minimal": (),
    "production": (),
    "certificates": (
        'mesh.encryption="certificates"',
        "telemetry.prometheus.enabled=true",
        "telemetry.dashboards.enabled=true",
    ),
}
"""Three whole installations: the examples, and the minimal one where pods encrypt by themselves."""


pytestmark = pytest.mark.usefixtures("chart_helm")


@pytest.fixture(scope="module", params=sorted(OPTIONS))
def installation(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    name = request.param if request.param in chart.EXAMPLES else "minimal"
    return chart.objects(name, *OPTIONS[request.param])


@pytest.mark.parametrize("example", chart.EXAMPLES)
def test_helm_lints_the_chart(example: str) -> None:
    assert "0 chart(s) failed" in chart.lint(example)


@pytest.mark.parametrize("example", chart.EXAMPLES)
def test_examples_render_to_what_is_committed(example: str) -> None:
    assert chart.render(example) == chart.golden(example), "the chart renders otherwise now: look, then `make chart`"


def test_every_object_is_valid_in_kubernetes_own_schemas(installation: list[dict[str, Any]]) -> None:
    """Strictly: a field that Kubernetes does not know is a fault."""
    core = [each for each in installation if CORE.fullmatch(each["apiVersion"])]
    assert len(core) > 40
    for each in core:
        for version in VERSIONS:
            kubernetes_validate.validate(each, version, strict=True)


def test_names_are_unique_and_fit(installation: list[dict[str, Any]]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in installation]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for _, name in names)


@pytest.mark.parametrize(
    "wrong",
    [
        "imagee={}",
        'image.tagg="1"',
        "defaults.replica=3",
        "services.points.graceSecond=3",
        'services.billing={"needs": []}',
        'mesh.encryption="both"',
        'services.points.needs=["billing"]',
        'telemetry.sampling="2"',
        'lake.url="/lake"',
        'defaults.env={"lower": "1"}',
        'cycles.nightly={"schedule": "0 3 * * *"}',
    ],
)
def test_a_value_that_nobody_reads_is_refused(wrong: str) -> None:
    """R001-129: a typo is an error at installation, not a default in silence."""
    with pytest.raises(chart.ChartFailed, match=r"(?i)additional propert|not allowed|must|does not match|missing"):
        chart.render("minimal", wrong)


def settled(values: Any, path: str = "") -> Iterator[str]:
    """Paths of all leaves of the values, defaults included."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from settled(value, f"{path}.{key}" if path else key)
    else:
        yield path


def test_every_value_is_used_by_some_template() -> None:
    """A knob that turns nothing is worse than none."""
    told = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    text = "".join(path.read_text() for path in (chart.CHART / "templates").glob("*"))
    names = {path.split(".")[-1] for path in settled({key: told[key] for key in told if key != "services"})}
    unused = sorted(name for name in names if not re.search(rf"\.{name}\b", text))
    assert not [name for name in unused if name not in ("cpu", "memory")], unused


def test_the_readme_names_every_group_of_values() -> None:
    readme = (chart.CHART / "README.md").read_text()
    told = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    assert [key for key in told if f"`{key}`" not in readme] == []
    assert Path(chart.CHART / "UPGRADING.md").exists()
