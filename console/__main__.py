"""`python -m console`: the web console of the platform, in a browser, until Ctrl-C.

    python -m console                             # beside `make up`: finds the front door in .lifecircle
    python -m console --invite wang --roles viewer,operator
                                                  # a user who may sign in; prints his secret once
    python -m console --target mesh:8088 --host 0.0.0.0 --url https://console.example.com
                                                  # behind a proxy that terminates TLS; cookies are for TLS only

It only reads, with the rights of whoever signs in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from console.app import Site
from lifecircle import Lifecircle, tokens
from lifecircle.admin import v1
from lifecircle.errors import Refused, refusal


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted; 0 done, 1 failed, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    state = Path(arguments.state)
    target = arguments.target or _front_door(state)
    if not target:
        print(f"console: nothing is up in {state}: run `make up` first, or give --target", file=sys.stderr)
        return 1
    if arguments.invite:
        return asyncio.run(_invite(target, arguments, state))
    try:
        asyncio.run(_serve(target, arguments))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(f"console: {arguments.host}:{arguments.port} cannot be taken: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m console", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    state = os.environ.get("LIFECIRCLE_STATE", ".lifecircle")
    parser.add_argument(
        "--state", default=state, help="folder of a platform on this machine (LIFECIRCLE_STATE, .lifecircle)"
    )
    parser.add_argument(
        "--target",
        default=os.environ.get("LIFECIRCLE_TARGET", ""),
        help="the front door, host:port (LIFECIRCLE_TARGET)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8092, help="the port to listen on (8092); 0 takes a free one")
    parser.add_argument("--url", default="", help="the address people open, when a proxy stands before it")
    parser.add_argument(
        "--invite", metavar="USER", help="make a user, or give one a new secret, as this machine's administrator"
    )
    parser.add_argument("--roles", default="viewer", help="what an invited user holds, by commas (viewer)")
    parser.add_argument("--org", default="", help="where an invited user belongs; empty for the whole")
    return parser


def _front_door(state: Path) -> str:
    """The address in run.json, which `make up` keeps; "" when nothing is up."""
    try:
        run = json.loads((state / "run.json").read_text())
    except (OSError, ValueError):
        return ""
    return str(run["front_door"])


async def _serve(target: str, arguments: argparse.Namespace) -> None:
    site = Site(
        lambda token, deadline: Lifecircle(target, token=token, deadline=deadline),
        secure=arguments.url.startswith("https://"),
    )
    runner = web.AppRunner(site.application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, arguments.host, arguments.port).start()
        host, port = runner.addresses[0][:2]
        print(f"console  {arguments.url or f'http://{host}:{port}/'}", flush=True)
        print("sign in  as a user of admin; `python -m console --invite NAME --roles viewer` makes one", flush=True)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _invite(target: str, arguments: argparse.Namespace, state: Path) -> int:
    """Makes the user where there is none, gives him the roles, and prints a new secret."""
    who, key = arguments.invite, str(uuid.uuid4())
    try:
        async with Lifecircle(target, token=tokens.file(state / "tokens" / "administrator.jwt")) as platform:
            new = v1.Principal(principal_id=who, kind=v1.Principal.KIND_USER, display_name=who, org_id=arguments.org)
            try:
                await platform.admin.CreatePrincipal(v1.CreatePrincipalRequest(request_id=key, principal=new))
            except refusal("PRINCIPAL_EXISTS"):
                pass
            for role in filter(None, arguments.roles.split(",")):
                await platform.admin.CreateGrant(
                    v1.CreateGrantRequest(request_id=f"{key[:32]}/{role}"[:64], principal_id=who, role_id=role)
                )
            secret = (
                await platform.admin.CreateSecret(v1.CreateSecretRequest(request_id=key, principal_id=who))
            ).secret
    except Refused as refused:
        print(f"console: {refused.fault}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"console: the administrator's token cannot be read: {error}", file=sys.stderr)
        return 1
    print(f"user     {who}\nsecret   {secret}\n(shown this once)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
