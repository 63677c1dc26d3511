"""The laws of this house that ruff and import-linter cannot say; `tests/test_house.py` holds them.

Each law is a function that gives the places where it is broken, one line each, so that a fault says where to go.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("ingest", "points", "portrait", "recommend", "contact", "admin")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"helpers.py", "utils.py", "util.py", "common.py", "misc.py"}
FORBIDDEN_FOLDERS = {"common", "utils", "helpers", "scripts"}
ROOMS = ("README.md", "__main__.py", "app.py", "config.py", "api", "usecases", "store", "tables.py", "refusals.py")
# Written so that this file does not break its own law.
UNFINISHED = tuple("".join(parts) for parts in (("TO", "DO"), ("FIX", "ME"), ("NotImplemented", "Error")))
GENERATED = ("clients/python/src/lifecircle/", "clients/python/src/buf/")


def tracked(suffix: str) -> Iterator[Path]:
    """Gives the files under git (and new ones that are not ignored) with this suffix, without generated code."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"*{suffix}"]
    for line in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        path = ROOT / line
        if path.exists() and not (line.startswith(GENERATED) and "/v1/" in line) and not line.startswith(GENERATED[1]):
            yield path


def too_long_files() -> list[str]:
    """A room past 400 lines becomes a package of the same name."""
    counted = ((path, len(path.read_text().splitlines())) for path in tracked(".py"))
    return [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in counted if lines > FILE_LINES_MAX]


def too_long_functions() -> list[str]:
    """A function fits on a screen: 70 lines at most."""
    found = []
    for path in tracked(".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    return found


def vague_names() -> list[str]:
    """A file says what it is by its name."""
    return [
        str(path.relative_to(ROOT))
        for path in tracked(".py")
        if path.name in FORBIDDEN_NAMES or FORBIDDEN_FOLDERS & set(path.relative_to(ROOT).parts)
    ]


def unfinished() -> list[str]:
    """Nothing is left for later inside the code; what is missing stands in an issue."""
    found = []
    for path in tracked(".py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if any(word in line for word in UNFINISHED):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    return found


def missing_rooms() -> list[str]:
    """Every service has the one shape; a room may be a file or a package."""
    found = []
    for service in SERVICES:
        folder = ROOT / "services" / service
        for room in ROOMS:
            if not (folder / room).exists() and not (folder / f"{room}.py").exists():
                found.append(f"services/{service}: {room} is missing")
        if not (folder / "migrations").is_dir() or not (folder / "domain").exists():
            found.append(f"services/{service}: domain/ or migrations/ is missing")
    return found


def long_mains() -> list[str]:
    """`__main__.py` only reads the verb: 40 lines at most."""
    mains = [ROOT / "services" / service / "__main__.py" for service in SERVICES]
    return [str(path.relative_to(ROOT)) for path in mains if path.exists() and len(path.read_text().splitlines()) > 40]


def domain_clocks() -> list[str]:
    """Time is an argument of the domain, never looked up there."""
    calls = {"now", "utcnow", "today"}
    found = []
    for path in tracked(".py"):
        parts = path.relative_to(ROOT).parts
        if len(parts) > 2 and parts[0] == "services" and (parts[2] == "domain" or parts[2] == "domain.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in calls:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} .{node.func.attr}()")
    return found
