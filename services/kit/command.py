"""`python -m services.<service> serve [--work] | work | migrate [--revise MESSAGE] | <offline verb> …`.

# services/points/__main__.py
if __name__ == "__main__":
    sys.exit(command.main("points", app.run, offline={"score": offline.score}))
"""

import argparse
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import uvloop

from services.kit import telemetry
from services.kit.config import ConfigProblems

Run = Callable[[Mapping[str, str], bool, bool], Coroutine[Any, Any, None]]
"""A service's `async app.run(environ, serving, working)`: serve the RPCs, do the background work, or both."""

Offline = Callable[[Sequence[str]], int]
"""An offline verb: the arguments after it → the exit status."""


def main(
    service: str, run: Run, *, offline: Mapping[str, Offline] | None = None, argv: Sequence[str] | None = None
) -> int:
    """Do what the command line says; gives the exit status: 0 done, 2 wrong settings or usage."""
    offline = offline or {}
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in offline:
        return offline[words[0]](words[1:])
    arguments = _parser(service, sorted(offline)).parse_args(words)
    telemetry.setup(service, os.environ)
    try:
        if arguments.verb != "migrate":
            serving = arguments.verb == "serve"
            uvloop.run(run(os.environ, serving, not serving or arguments.work))
        else:
            from services.kit import migrate  # alembic costs a quarter of a start, and a service that serves needs none

            if arguments.revise:
                migrate.revise(service, arguments.revise)
            else:
                migrate.migrate(service, os.environ)
    except ConfigProblems as problems:
        for problem in problems.problems:
            print(f"{service}: {problem}", file=sys.stderr)
        return 2
    finally:
        telemetry.shutdown()
    return 0


def _parser(service: str, offline: Sequence[str]) -> argparse.ArgumentParser:
    also = f"; offline verbs, each with its own --help: {', '.join(offline)}" if offline else ""
    parser = argparse.ArgumentParser(prog=f"python -m services.{service}", description=f"The service {service}{also}.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="serve the RPCs")
    serve.add_argument("--work", action="store_true", help="do the background work in the same process")
    verbs.add_parser("work", help="do the background work, and serve health only")
    migrating = verbs.add_parser("migrate", help="make role and schema, and bring the tables up to date")
    migrating.add_argument("--revise", metavar="MESSAGE", help="write a new, empty migration instead")
    return parser
