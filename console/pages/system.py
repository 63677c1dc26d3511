"""System management (系统管理): who may sign in, what he holds, and what was done."""

from __future__ import annotations

from collections.abc import Sequence

from console import words
from console.page import Asked, Block, Field, Page, Section, table
from lifecircle.admin import v1

GROUP = "系统管理"


async def users(asked: Asked) -> Sequence[Block]:
    """Persons and service accounts; names are masked by the platform."""
    told = await asked.platform.admin.ListPrincipals(v1.ListPrincipalsRequest(page_size=100, page_token=asked["page"]))
    columns = "id 用户 id, name 姓名, kind 种类, org 组织 id, roles 角色 id, state 状态"
    rows = [
        (
            each.principal_id,
            each.display_name,
            words.said(each, "kind"),
            each.org_id,
            ", ".join(each.roles),
            "停用" if each.disabled else "有效",
        )
        for each in told.principals
    ]
    return [table("", columns, rows, next_page=told.next_page_token)]


async def roles(asked: Asked) -> Sequence[Block]:
    """Roles and how much each may."""
    told = await asked.platform.admin.ListRoles(v1.ListRolesRequest(page_size=100, page_token=asked["page"]))
    columns = "id 角色 id, title 名称 id, permissions 权限数 integer, kind 种类, state 状态"
    rows = [
        (
            each.role_id,
            each.title,
            len(each.permissions),
            "内置" if each.built_in else "自定义",
            "停用" if each.disabled else "有效",
        )
        for each in told.roles
    ]
    return [table("", columns, rows, next_page=told.next_page_token)]


async def organisations(asked: Asked) -> Sequence[Block]:
    """The tree of organisations, as far as the user sees it."""
    told = await asked.platform.admin.ListOrganisations(
        v1.ListOrganisationsRequest(page_size=200, page_token=asked["page"])
    )
    columns = "id 编号 id, name 名称, level 级别, parent 上级 id, state 状态"
    rows = [
        (each.org_id, each.name, words.said(each, "level"), each.parent_org_id, "停用" if each.disabled else "有效")
        for each in told.organisations
    ]
    return [table("", columns, rows, next_page=told.next_page_token)]


async def operations(asked: Asked) -> Sequence[Block]:
    """The operation log, the latest first."""
    request = v1.ListOperationsRequest(
        caller=asked["caller"], action=asked["action"], page_size=50, page_token=asked["page"]
    )
    told = await asked.platform.admin.ListOperations(request)
    columns = "time 时间, caller 用户 id, action 操作 id, target 对象 id, outcome 结果, sequence 序号 integer"
    rows = [
        (words.moment(each.time), each.caller, each.action, each.target, words.said(each, "outcome"), each.sequence)
        for each in told.operations
    ]
    return [table("", columns, rows, next_page=told.next_page_token)]


PAGES = (
    Page("/users", "用户", GROUP, (Section("全部用户", "admin", users),)),
    Page("/roles", "角色", GROUP, (Section("全部角色", "admin", roles),)),
    Page("/organisations", "组织", GROUP, (Section("组织", "admin", organisations),)),
    Page(
        "/operations",
        "操作日志",
        GROUP,
        (Section("操作日志", "admin", operations),),
        form=(Field("caller", "用户", "不填则全部"), Field("action", "操作", "服务与方法名，不填则全部")),
    ),
)
