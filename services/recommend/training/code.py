"""Which code made a model: a checksum over the sources that have a say in it, and the versions of what learns."""

import hashlib
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_SOURCES = (_HERE, _HERE.parent / "domain")
_LEARNERS = ("numpy", "scipy", "scikit-learn", "lightgbm", "onnx")


@cache
def version() -> str:
    """Such as `3f2a91c07be4 numpy 2.4.0 scipy 1.17.0 …`: the same sources and libraries give the same words."""
    told = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted(folder.rglob("*.py")):
            told.update(path.relative_to(_HERE.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return " ".join([told.hexdigest()[:12], *(f"{name} {version_of(name)}" for name in _LEARNERS)])
