"""`python -m lifecircle call SERVICE.METHOD [JSON] | list [SERVICE] | report REPORT`: the platform from a shell.

    python -m lifecircle list points
    python -m lifecircle call points.GetPeriod '{"periodId": "2026-03"}'
    python -m lifecircle report circle_distribution --period 2026-09 --compare --to reports

LIFECIRCLE_TARGET and LIFECIRCLE_TOKEN_FILE say where to and as whom (`eval "$(python -m deploy.local env)"` sets them).
A request that takes a request_id and has none gets a new one. Exit status: 0 done, 1 refused, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor

from lifecircle import tokens
from lifecircle.client import Lifecircle
from lifecircle.errors import Refused
from lifecircle.retry import SERVICES


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m lifecircle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    call = verbs.add_parser("call", help="call an RPC; prints its answer as JSON, a stream's line by line")
    call.add_argument("method", help="as service.Method, for instance points.GetPeriod")
    call.add_argument("request", nargs="?", default="{}", help="the request as JSON; - reads it from stdin")
    call.add_argument("--most", type=int, default=0, help="end a stream after so many messages")
    listed = verbs.add_parser("list", help="the RPCs there are")
    listed.add_argument("service", nargs="?", choices=sorted(SERVICES), help="only of this service")
    report = verbs.add_parser("report", help="a report as HTML and Excel; needs lifecircle-client[reports]")
    report.add_argument("report", nargs="?", help="which, for instance circle_distribution; none lists them all")
    report.add_argument("--period", default="", help="2026-09 or 2026-09-30; the latest by default")
    report.add_argument("--compare", action="store_true", help="with the period before, and the change")
    report.add_argument("--to", type=Path, default=Path(), help="the folder to write to (default: here)")
    for verb in (call, report):
        verb.add_argument(
            "--target", default=os.environ.get("LIFECIRCLE_TARGET", "127.0.0.1:8088"), help="the front door"
        )
        verb.add_argument(
            "--token-file", type=Path, default=os.environ.get("LIFECIRCLE_TOKEN_FILE"), help="whose token"
        )
    arguments = parser.parse_args(argv)
    if arguments.verb == "list":
        for name in [arguments.service] if arguments.service else SERVICES:
            print("\n".join(f"{name}.{method.name}" for method in SERVICES[name].methods))
        return 0
    return _report(arguments) if arguments.verb == "report" else _call(arguments)


def _report(arguments: argparse.Namespace) -> int:
    try:
        from lifecircle import reports
    except ImportError as error:
        return _wrong(f"reports need `pip install lifecircle-client[reports]`: {error}")
    if not arguments.token_file:
        return _wrong("whose token? give --token-file or set LIFECIRCLE_TOKEN_FILE")

    async def run() -> list[str]:
        async with Lifecircle(
            arguments.target, token=tokens.file(Path(arguments.token_file)), deadline=120
        ) as platform:
            if not arguments.report:
                return [f"{name:24} {title}" for name, title in await reports.names(platform)]
            made = await reports.fetch(platform, arguments.report, arguments.period, arguments.compare)
            return list(map(str, reports.write(made, arguments.to)))

    try:
        print("\n".join(asyncio.run(run())))
    except Refused as refused:
        print(f"report: {refused.fault}", file=sys.stderr)
        return 1
    except reports.ReportUnknown as unknown:
        return _wrong(str(unknown))
    except OSError as error:
        return _wrong(f"a file cannot be read or written: {error}")
    return 0


def _call(arguments: argparse.Namespace) -> int:
    service, _, name = arguments.method.partition(".")
    method = SERVICES[service].methods_by_name.get(name) if service in SERVICES else None
    if method is None or method.client_streaming:
        return _wrong(f"there is no RPC {arguments.method} to call so; `list` names them")
    if not arguments.token_file:
        return _wrong("whose token? give --token-file or set LIFECIRCLE_TOKEN_FILE")
    text = sys.stdin.read() if arguments.request == "-" else arguments.request
    try:
        request = _request(method, text)
    except json_format.ParseError as error:
        return _wrong(f"the request is not a {method.input_type.name}: {error}")
    try:
        asyncio.run(_run(arguments, service, method, request))
    except Refused as refused:
        print(f"{arguments.method}: {refused.fault}", file=sys.stderr)
        for field, problem in refused.fault.fields.items():
            print(f"  {field}: {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        return _wrong(f"the token cannot be read: {error}")
    return 0


def _request(method: MethodDescriptor, text: str) -> Any:
    request = json_format.Parse(text, message_factory.GetMessageClass(method.input_type)())
    if "request_id" in method.input_type.fields_by_name and not request.request_id:  # type: ignore[attr-defined]
        request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
    return request


async def _run(arguments: argparse.Namespace, service: str, method: MethodDescriptor, request: Any) -> None:
    async with Lifecircle(arguments.target, token=tokens.file(Path(arguments.token_file))) as platform:
        call = getattr(getattr(platform, service), method.name)
        if not method.server_streaming:
            print(json_format.MessageToJson(await call(request), ensure_ascii=False))
            return
        count = 0
        async for answer in call(request):
            print(json_format.MessageToJson(answer, indent=None, ensure_ascii=False), flush=True)
            count += 1
            if count == arguments.most:
                return


def _wrong(message: str) -> int:
    print(f"lifecircle: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
