"""The gateways of the channels behind one port: SMS, app and web by HTTP, call lists and stores by a folder.

Every gateway takes each message id once, so that a message may be handed to it again after a crash. Messages carry the
customer key and no number: the channel resolves its user by itself.
"""

import asyncio
import json
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.contact.domain.benefit import Message, Receipt
from services.contact.usecases.sender import Gateway

_SECONDS = 10.0


def http_gateway(url: str) -> Gateway:
    """A gateway that takes POST {"messages": [{id, customer_key, campaign_id, content}]} and answers each id.

    The answer is {"receipts": [{"id", "taken", "text"}]}. Raises OSError when it does not answer, or not with 200.
    """

    def post(messages: Sequence[Message]) -> list[Receipt]:
        body = json.dumps({"messages": [_told(one) for one in messages]}, ensure_ascii=False).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310  # the operator's own setting
            answer: dict[str, Any] = json.load(response)
        return [Receipt(one["id"], bool(one["taken"]), str(one.get("text", ""))) for one in answer["receipts"]]

    async def send(messages: Sequence[Message]) -> Sequence[Receipt]:
        try:
            return await asyncio.to_thread(post, messages)
        except (ValueError, KeyError, TypeError) as error:
            raise OSError("the gateway's answer is not one") from error

    return send


def folder_gateway(folder: Path) -> Gateway:
    """A folder in which a call centre or a store finds one JSON file for each message, whole or not at all."""

    def write(messages: Sequence[Message]) -> list[Receipt]:
        folder.mkdir(parents=True, exist_ok=True)
        for one in messages:
            part = folder / f".{one.message_id}.part"
            part.write_text(json.dumps(_told(one), ensure_ascii=False, sort_keys=True))
            os.replace(part, folder / f"{one.message_id}.json")
        return [Receipt(one.message_id, True, f"{one.message_id}.json") for one in messages]

    async def send(messages: Sequence[Message]) -> Sequence[Receipt]:
        return await asyncio.to_thread(write, messages)

    return send


def _told(message: Message) -> dict[str, Any]:
    return {
        "id": message.message_id,
        "customer_key": message.customer_key,
        "campaign_id": message.campaign_id,
        "content": message.content,
    }
