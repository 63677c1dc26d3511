"""Writes services/admin/permissions.csv: every RPC of the contract, what it does, and the built-in roles that hold it.

The contract says which RPCs there are and the first sentence of their comment what they do; each service's RIGHTS say
who may call them. `python -m tools.permissions write` after a change of either; tests/contract fail until it is done.
"""

from __future__ import annotations

import csv
import importlib
import io
import re
import sys
from collections.abc import Iterator

from tools.tidy import ROOT, SERVICES

TARGET = ROOT / "services" / "admin" / "permissions.csv"


def rows() -> Iterator[tuple[str, str, str]]:
    """Permission, title and roles of every RPC, by name."""
    for service in sorted(SERVICES):
        module = importlib.import_module(f"lifecircle.{service}.v1.{service}_service_pb2")
        rights = importlib.import_module(f"services.{service}.api").RIGHTS
        source = (ROOT / "protos" / "lifecircle" / service / "v1" / f"{service}_service.proto").read_text("utf-8")
        methods = module.DESCRIPTOR.services_by_name[f"{service.capitalize()}Service"].methods
        for method in sorted(methods, key=lambda each: str(each.name)):
            yield f"{service}.{method.name}", _title(source, method.name), " ".join(sorted(rights.get(method.name, ())))


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
