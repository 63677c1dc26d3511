"""Operator files as they are kept: without the lines that hold a number."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from services.ingest.lake import content

_KEPT = (".archive", ".quarantine")


def files_of(root: Path, delivery_ids: set[str]) -> Iterator[Path]:
    """Files that are kept of these deliveries."""
    for name in _KEPT:
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and not path.is_symlink() and path.parent.name in delivery_ids:
                yield path


def holds(path: Path, numbers: Sequence[str]) -> bool:
    """Whether a number stands in a file; one that cannot be unpacked is taken to hold it."""
    wanted, rest = [number.encode() for number in numbers], b""
    try:
        for block in content.blocks(path):
            seen = rest + block
            if any(number in seen for number in wanted):
                return True
            rest = seen[-64:]  # a number may lie across two blocks
    except content.Unfit:
        return True
    return False


def remove_lines(path: Path, numbers: Sequence[str]) -> int:
    """Write a file anew without the lines that hold a number, or remove it when it is packed; gives how many."""
    if content.is_compressed(path):
        path.unlink()
        return 1
    wanted = [number.encode() for number in numbers]
    removed = 0
    part = path.with_name(f".{path.name}.part")
    with path.open("rb") as file, part.open("wb") as to:
        part.chmod(0o600)
        for line in file:
            if any(number in line for number in wanted):
                removed += 1
            else:
                to.write(line)
    part.rename(path)
    return removed
