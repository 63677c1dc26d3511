"""Writes services/admin/permissions.csv: every RPC of the contract, what it does, and the built-in roles that hold it.

The contract says which RPCs there are and the first sentence of their comment what they do; each service's RIGHTS say
who may call them. `python -m tools.permissions write` after a change of either; tests/contract fail until it is done.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import sys
from collections.abc import Iterator

from google.protobuf.descriptor import ServiceDescriptor

from lifecircle import retry
from tools.tidy import ROOT, SERVICES

TARGET = ROOT / "services" / "admin" / "permissions.csv"


def rows() -> Iterator[tuple[str, str, str]]:
    """Permission, title and roles of every RPC, by name."""
    for service in sorted(SERVICES):
        rights = rights_of(service)
        methods = [method for each in descriptors(service) for method in each.methods]
        for method in sorted(methods, key=lambda each: str(each.name)):
            source = (ROOT / "protos" / method.containing_service.file.name).read_text("utf-8")
            yield f"{service}.{method.name}", _title(source, method.name), " ".join(sorted(rights.get(method.name, ())))


def descriptors(service: str) -> list[ServiceDescriptor]:
    """The gRPC services of one service: its own, and its facade where it has one."""
    return [each for each in retry.SERVICES.values() if each.full_name.split(".")[1] == service]


def rights_of(service: str) -> dict[str, frozenset[str]]:
    """Who may call what of one service, its facade included."""
    rights = dict(importlib.import_module(f"services.{service}.api").RIGHTS)
    if importlib.util.find_spec(f"services.{service}.api.tmf") is not None:
        rights |= importlib.import_module(f"services.{service}.api.tmf").RIGHTS
    return rights


def text() -> str:
    """The whole file."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(("permission", "title", "roles"))
    writer.writerows(rows())
    return target.getvalue()


def _title(source: str, method: str) -> str:
    """The first sentence of the comment above an RPC."""
    found = re.search(rf"((?:  //[^\n]*\n)+)  rpc {method}\(", source)
    if found is None:
        raise SystemExit(f"permissions: the RPC {method} has no comment")
    comment = " ".join(line.strip().removeprefix("//").strip() for line in found[1].splitlines())
    return re.split(r"(?<=[.:;]) ", comment, maxsplit=1)[0].rstrip(".:;")


def main() -> int:
    """Writes the file, or says that it is not what it should be."""
    if sys.argv[1:] == ["write"]:
        TARGET.write_text(text(), "utf-8")
        return 0
    if sys.argv[1:] != ["check"]:
        print("usage: python -m tools.permissions write | check", file=sys.stderr)
        return 2
    if TARGET.read_text("utf-8") == text():
        return 0
    print(
        "services/admin/permissions.csv is not what the contract and RIGHTS say: run make permissions", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
