"""The site: sign-in, pages, help, downloads. Everything is read with the user's own token; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import grpc
from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from console import manual, pages
from console.asking import SignedOut, ask
from console.page import Asked, Code, Page
from console.sessions import Session, Sessions
from lifecircle.admin.v1 import IssueTokenRequest
from lifecircle.errors import Refused
from lifecircle.reports import ReportUnknown, fetch, to_excel, to_html

Connect = Callable[[str, float], Any]
"""Gives the platform for a token ("" for nobody) and a deadline in seconds."""

SESSION: web.RequestKey[Session | None] = web.RequestKey("session")
QUICK, PATIENT = 6.0, 120.0
"""Seconds a page waits for an answer, and a report."""
_HERE = Path(__file__).resolve().parent
_HEADERS = {
    # Plotly sets styles by itself; nothing else is inline, and nothing comes from elsewhere.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_FILES = {
    "html": (to_html, "text/html"),
    "xlsx": (to_excel, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
}


class Site:
    """The handlers; `secure` sets cookies that only TLS carries."""

    def __init__(self, connect: Connect, *, secure: bool = False, now: Callable[[], float] = time.time) -> None:
        self.connect, self.secure = connect, secure
        self.cookie = "__Host-lifecircle" if secure else "lifecircle"
        self.sessions = Sessions(now)
        loader = FileSystemLoader(_HERE / "templates")
        self.templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self.templates.tests["code"] = lambda told: isinstance(told, Code)

    def application(self) -> web.Application:
        """The application: routes, and what every answer carries."""
        made = web.Application(middlewares=[self._every], client_max_size=16_384)
        made.router.add_get("/login", self.sign_in_page)
        made.router.add_post("/login", self.sign_in)
        made.router.add_post("/logout", self.sign_out)
        made.router.add_get("/help", self.help)
        made.router.add_get("/static/plotly.js", self.plotly)
        made.router.add_static("/static", _HERE / "static")
        made.router.add_get("/reports/download.{form:html|xlsx}", self.download)
        for each in pages.ALL:
            made.router.add_get(each.path, self._page(each))
        made.on_cleanup.append(self._close)
        return made

    async def _close(self, _: web.Application) -> None:
        await self.sessions.end_all()

    @web.middleware
    async def _every(
        self, request: web.Request, handler: Callable[[web.Request], Any]
    ) -> web.StreamResponse:  # fmt: skip
        """Signs out who is not known, refuses posts of other sites, and adds the headers."""
        open_to_all = request.path in ("/login", "/help") or request.path.startswith("/static/")
        session = self.sessions.find(request.cookies.get(self.cookie, ""))
        request[SESSION] = session
        try:
            if request.method == "POST" and not _same_site(request):
                answer: web.StreamResponse = self._message("请求被拒绝", "请从本站的页面操作。", 403)
            elif session is None and not open_to_all:
                answer = _to_login(request)
            else:
                answer = await handler(request)
        except SignedOut:
            await self.sessions.end(request.cookies.get(self.cookie, ""))
            answer = _to_login(request)
        except web.HTTPNotFound:
            answer = self._message("没有这个页面", "地址有误，或页面已经移走。", 404, session)
        except web.HTTPException as problem:
            answer = problem
        answer.headers.update(_HEADERS)
        if not request.path.startswith("/static/"):
            answer.headers["Cache-Control"] = "no-store"
        return answer

    async def sign_in_page(self, request: web.Request) -> web.Response:
        """The form to sign in with."""
        to = request.query.get("to", "/")
        problem = "登录已过期或尚未登录，请登录。" if to != "/" else ""
        return self._render("login.html", "登录", None, to=to, problem=problem, help="/help?of=登录")

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Asks admin for a token; the browser is given a cookie that means nothing by itself."""
        form = await request.post()
        user, secret, to = (str(form.get(name, "")) for name in ("user", "secret", "to"))
        try:
            async with self.connect("", QUICK) as nobody:
                issued = await nobody.admin.IssueToken(IssueTokenRequest(principal_id=user, secret=secret))
        except Refused as refused:
            problem, status = _why_not(refused)
            made = self._render("login.html", "登录", None, to=to, problem=problem, help="/help?of=登录")
            made.set_status(status)
            return made
        await self.sessions.end(request.cookies.get(self.cookie, ""))
        two = self.connect(issued.token, QUICK), self.connect(issued.token, PATIENT)
        word = await self.sessions.begin(user, *two, issued.expire_time.seconds)
        answer = web.Response(status=303, headers={"Location": _inside(to)})
        answer.set_cookie(self.cookie, word, httponly=True, samesite="Lax", secure=self.secure, path="/")
        return answer

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Ends the session; the form carries the session's own word."""
        session = _session(request)
        if (await request.post()).get("csrf") != session.csrf:
            return self._message("请求被拒绝", "请从本站的页面操作。", 403, session)
        await self.sessions.end(request.cookies[self.cookie])
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(self.cookie, path="/", secure=self.secure, httponly=True, samesite="Lax")
        return answer

    async def help(self, request: web.Request) -> web.Response:
        """The help of one page, or how the whole is used."""
        title = request.query.get("of", "")
        text = manual.chapter(title)
        if text is None:
            raise web.HTTPNotFound
        back = next((page.path for page in pages.ALL if page.title == title and page.listed), "/")
        return self._render("help.html", f"帮助 {title}".strip(), request[SESSION], text=text, back=back)

    async def plotly(self, _: web.Request) -> web.Response:
        """The library that draws charts, from its own package."""
        return web.Response(
            text=_plotly(), content_type="text/javascript", headers={"Cache-Control": "private, max-age=86400"}
        )

    async def download(self, request: web.Request) -> web.StreamResponse:
        """A report as a file: the same figures as on its page."""
        session = _session(request)
        asked = _asked(request, session)
        render, kind = _FILES[request.match_info["form"]]
        try:
            report = await fetch(session.patient, asked["report"], asked["period"], bool(asked["compare"]))
        except (Refused, ReportUnknown):
            there = "/reports/view?" + urlencode(dict(request.query))
            return web.Response(status=303, headers={"Location": there})  # its page says why
        made = render(report)
        name = f"{report.title}.{request.match_info['form']}"
        told = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        return web.Response(body=made.encode() if isinstance(made, str) else made, content_type=kind, headers=told)

    def _page(self, page: Page) -> Callable[[web.Request], Any]:
        async def show(request: web.Request) -> web.Response:
            session = _session(request)
            asked = _asked(request, session)
            sections = await ask(page, asked)

            def turned(token: str) -> str:
                return urlencode({**asked.values, "page": token})

            return self._render(
                "page.html", page.title, session, path=page.path, form=page.form, asked=asked.values,
                sections=sections, turned=turned, help=f"/help?of={quote(page.title)}", charts=True,
            )  # fmt: skip

        return show

    def _message(self, title: str, text: str, status: int, session: Session | None = None) -> web.Response:
        made = self._render("message.html", title, session, text=text)
        made.set_status(status)
        return made

    def _render(self, template: str, title: str, session: Session | None, **told: Any) -> web.Response:
        frame = {"title": title, "session": session, "menu": pages.MENU, "path": "", "help": "/help", "charts": False}
        text = self.templates.get_template(template).render({**frame, **told})
        return web.Response(text=text, content_type="text/html", charset="utf-8")


def _session(request: web.Request) -> Session:
    """Who asks; the middleware lets nobody else as far as a page."""
    session = request[SESSION]
    assert session is not None, "only who is signed in comes here"
    return session


def _asked(request: web.Request, session: Session) -> Asked:
    return Asked(session.platform, session.patient, {name: request.query[name][:512] for name in request.query})


def _same_site(request: web.Request) -> bool:
    """Whether a post comes from a page of ours: browsers say so in Origin, which a page cannot set."""
    origin = request.headers.get("Origin", "")
    return origin.partition("://")[2] == request.host


def _to_login(request: web.Request) -> web.Response:
    to = request.path_qs if request.method == "GET" else "/"
    return web.Response(status=303, headers={"Location": f"/login?{urlencode({'to': to})}"})


def _inside(to: str) -> str:
    """An address of this site, whatever was asked for: one slash, and no backslash, begins it."""
    return to if to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() else "/"


def _why_not(refused: Refused) -> tuple[str, int]:
    if refused.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return "系统管理暂不可用，暂时不能登录，请稍后再试。", 503
    if refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return "尝试次数过多，请一分钟后再试。", 429
    return "用户名或密钥不对，或用户已停用。", 403


def _plotly() -> str:
    return str(get_plotlyjs())
