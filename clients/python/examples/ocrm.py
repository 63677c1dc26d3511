"""The OCRM integration by gRPC: takes the lists of today's contacts, and returns what came of them.

    python clients/python/examples/ocrm.py take --plan PLAN --to FOLDER
    python clients/python/examples/ocrm.py report FOLDER/outcomes.csv

LIFECIRCLE_TARGET and LIFECIRCLE_TOKEN_FILE say where to and as whom; the token needs the roles operator and privacy.
`take` writes one CSV per channel, whole or not at all, with the customers' tags (`CODE` or `CODE=value`, joined by
semicolons; none that is sensitive, and none at all while portraits cannot be had); taken again it writes the same.
`report` sends a file of `contact_id,result[,opened]` (result: responded, refused, unreached); sent again it changes
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import grpc

from lifecircle import Lifecircle, Refused, items, tokens
from lifecircle.contact.v1 import (
    Channel,
    Contact,
    ContactServiceStub,
    ListContactsRequest,
    Outcome,
    RecordOutcomesRequest,
)
from lifecircle.ingest.v1 import IngestServiceStub, RevealIdentitiesRequest
from lifecircle.portrait.v1 import BatchGetPortraitsRequest, ListTagsRequest, PortraitServiceStub, Tag

AT_ONCE = 5000
PORTRAITS_AT_ONCE = 200
COLUMNS = ("contact_id", "msisdn", "product_id", "offer_id", "campaign_id", "contact_time", "attribution_token", "tags")
RESULTS = {
    "responded": Outcome.RESULT_RESPONDED,
    "refused": Outcome.RESULT_REFUSED,
    "unreached": Outcome.RESULT_UNREACHED,
}


class Platform(Protocol):
    """What the integration needs of the platform: a Lifecircle, or a FakePlatform in tests."""

    contact: ContactServiceStub
    ingest: IngestServiceStub
    portrait: PortraitServiceStub


class BadFile(Exception):
    """A file of outcomes cannot be sent; the message names its line."""


async def take(platform: Platform, plan_id: str, folder: Path) -> dict[str, int]:
    """Writes the plan's contacts that were handed over into one file per channel; gives how many each holds."""
    folder.mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[Contact]] = {}
    async for contact in items(platform.contact.ListContacts, ListContactsRequest(plan_id=plan_id)):
        if contact.state == Contact.STATE_HANDED_OVER:
            channel = Channel.Name(contact.channel).removeprefix("CHANNEL_").lower()
            lists.setdefault(channel, []).append(contact)
    return {
        channel: await _write(platform, plan_id, folder / f"{channel}.csv", found) for channel, found in lists.items()
    }


async def report(platform: Platform, file: Path) -> tuple[int, int, list[str]]:
    """Sends a file of outcomes; gives how many were new, how many known, and the contact ids that nobody knows."""
    content = file.read_bytes()
    outcomes = _outcomes(content.decode("utf-8-sig"), file.name)
    digest, recorded, duplicates, unmatched = hashlib.sha256(content).hexdigest(), 0, 0, list[str]()
    for start in range(0, len(outcomes), AT_ONCE):
        # The file's own checksum names the call: the same file sent again is the same call again.
        request_id = f"{digest[:40]}-{start}"
        asked = RecordOutcomesRequest(outcomes=outcomes[start : start + AT_ONCE], request_id=request_id)
        answer = await platform.contact.RecordOutcomes(asked)
        recorded, duplicates = recorded + answer.recorded, duplicates + answer.duplicates
        unmatched += answer.unmatched_contact_ids
    return recorded, duplicates, unmatched


async def _write(platform: Platform, plan_id: str, file: Path, contacts: Sequence[Contact]) -> int:
    fresh = file.with_suffix(".part")
    count = 0
    with fresh.open("w", encoding="utf-8", newline="") as target:
        os.chmod(fresh, 0o600)
        rows = csv.writer(target)
        rows.writerow(COLUMNS)
        for start in range(0, len(contacts), AT_ONCE):
            part = contacts[start : start + AT_ONCE]
            keys = [contact.customer_key for contact in part]
            numbers, tags = await _numbers(platform, plan_id, keys), await _tags(platform, keys)
            for each in (contact for contact in part if contact.customer_key in numbers):
                moment = each.contact_time.ToDatetime().isoformat(timespec="seconds") + "Z"
                row = (each.contact_id, numbers[each.customer_key], each.product_id, each.offer_id, each.campaign_id)
                rows.writerow((*row, moment, each.attribution_token, tags.get(each.customer_key, "")))
                count += 1
    fresh.replace(file)
    return count


async def _numbers(platform: Platform, plan_id: str, customer_keys: Sequence[int]) -> dict[int, str]:
    asked = RevealIdentitiesRequest(customer_keys=customer_keys, purpose=f"ocrm list of plan {plan_id}")
    found: dict[int, str] = {}
    async for answer in platform.ingest.RevealIdentities(asked):
        found.update({each.customer_key: each.msisdn for each in answer.identities})
    return found


async def _tags(platform: Platform, customer_keys: Sequence[int]) -> dict[int, str]:
    """Gives each customer's tags that are not sensitive; nobody's while portraits cannot be had."""
    found: dict[int, str] = {}
    try:
        plain = {tag.code async for tag in items(platform.portrait.ListTags, ListTagsRequest()) if _may_leave(tag)}
        for start in range(0, len(customer_keys), PORTRAITS_AT_ONCE):
            asked = BatchGetPortraitsRequest(customer_keys=customer_keys[start : start + PORTRAITS_AT_ONCE])
            for each in (await platform.portrait.BatchGetPortraits(asked)).portraits:
                told = [f"{tag.code}={tag.value}".rstrip("=") for tag in each.tags if tag.code in plain]
                found[each.customer_key] = ";".join(told)
    except grpc.aio.AioRpcError as error:
        print(f"ocrm: lists go without tags: {error.code().name}: {error.details()}", file=sys.stderr)
        return {}
    return found


def _may_leave(tag: Tag) -> bool:
    return tag.sensitivity in ("normal", "personal")


def _outcomes(text: str, name: str) -> list[Outcome]:
    rows = csv.DictReader(text.splitlines())
    if not {"contact_id", "result"} <= set(rows.fieldnames or ()):
        raise BadFile(f"{name}: the first line must name the columns contact_id,result[,opened]")
    found = []
    for row in rows:
        if row["result"] not in RESULTS or not row["contact_id"]:
            raise BadFile(f"{name}, line {rows.line_num}: contact_id must be given, result one of {', '.join(RESULTS)}")
        opened = (row.get("opened") or "").strip().lower() in ("1", "true", "yes", "是")
        found.append(Outcome(contact_id=row["contact_id"], result=RESULTS[row["result"]], opened=opened))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line says: 0 done, 1 refused, 2 wrong usage or file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default=os.environ.get("LIFECIRCLE_TARGET", "127.0.0.1:8088"))
    parser.add_argument("--token-file", type=Path, default=os.environ.get("LIFECIRCLE_TOKEN_FILE"))
    verbs = parser.add_subparsers(dest="verb", required=True)
    taking = verbs.add_parser("take", help="write a plan's contacts, one file per channel")
    taking.add_argument("--plan", required=True)
    taking.add_argument("--to", type=Path, required=True)
    reporting = verbs.add_parser("report", help="send what came of them")
    reporting.add_argument("file", type=Path)
    arguments = parser.parse_args(argv)
    if not arguments.token_file:
        parser.error("whose token? give --token-file or set LIFECIRCLE_TOKEN_FILE")
    try:
        asyncio.run(_main(arguments))
    except (BadFile, OSError) as error:
        print(f"ocrm: {error}", file=sys.stderr)
        return 2
    except Refused as refused:
        print(f"ocrm: {refused}", file=sys.stderr)
        return 1
    except grpc.aio.AioRpcError as error:
        print(f"ocrm: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    return 0


async def _main(arguments: argparse.Namespace) -> None:
    async with Lifecircle(arguments.target, token=tokens.file(Path(arguments.token_file))) as platform:
        if arguments.verb == "take":
            for channel, count in (await take(platform, arguments.plan, arguments.to)).items():
                print(f"{arguments.to / channel}.csv: {count} contacts")
        else:
            recorded, duplicates, unmatched = await report(platform, arguments.file)
            print(f"{recorded} recorded, {duplicates} known already, {len(unmatched)} of nobody's")
            for contact_id in unmatched:
                print(f"  not known: {contact_id}")


if __name__ == "__main__":
    sys.exit(main())
