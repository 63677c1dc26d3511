"""Asking for every section of a page at once; a refusal becomes a sentence where the section would stand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from console.page import Asked, Block, Note, Page, Section, Unreadable
from lifecircle.errors import Refused
from lifecircle.reports import ReportUnknown

PLATFORMS = {
    "portrait": "客户运营与事件识别平台",
    "recommend": "推荐服务",
    "contact": "智慧营销与在线运营平台",
    "points": "积分平台",
    "ingest": "数据接入平台",
    "admin": "系统管理",
}
"""What people call each service of the mesh."""
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class SignedOut(Exception):
    """The platform does not take the token any more."""


async def ask(page: Page, asked: Asked) -> list[tuple[Section, Sequence[Block]]]:
    """Every section with its blocks, in the page's order. Raises SignedOut."""
    answers = await asyncio.gather(*(_section(section, asked) for section in page.sections))
    return list(zip(page.sections, answers, strict=True))


async def _section(section: Section, asked: Asked) -> Sequence[Block]:
    if not all(asked[name] for name in section.needs):
        return [Note("请在上方填写后查询。")]
    try:
        return await section.load(asked)
    except Unreadable as problem:
        return [Note(str(problem), "denied")]
    except ReportUnknown:
        return [Note("没有这张报表，或这一期还没有数据。")]
    except Refused as refused:
        return [_said(section, refused)]


def _said(section: Section, refused: Refused) -> Note:
    code, fault = refused.code(), refused.fault
    if code in _AWAY:
        return Note(f"{PLATFORMS[section.service]}暂不可用，请稍后再试；其他栏目不受影响。", "away")
    if code == grpc.StatusCode.UNAUTHENTICATED:
        raise SignedOut
    if code == grpc.StatusCode.PERMISSION_DENIED:
        return Note("无权限：您的角色不能查看这一部分。需要时请向管理员申请。", "denied")
    if code == grpc.StatusCode.NOT_FOUND:
        return Note("没有找到：不存在，或不在您的数据范围内。")
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return Note("输入有误，请检查后再查询。", "denied")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Note("查询过于频繁，请稍后再试。", "away")
    return Note(f"暂时无法显示（{fault.reason or code.name}）。", "away")
