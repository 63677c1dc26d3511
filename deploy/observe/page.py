"""The pages: the latest traces, one trace as a waterfall, and the map of who calls whom. Plain HTML and SVG."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from deploy.observe.spans import Span, depths, edges, tree

_STYLE = """
body{font:14px system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;margin:24px;color:#222}
a{color:#0b5cad;text-decoration:none} table{border-collapse:collapse;width:100%} th{text-align:left;color:#666}
td,th{padding:3px 8px;border-bottom:1px solid #eee;white-space:nowrap} .bar{position:relative;width:55%;min-width:280px}
.bar i{position:absolute;top:5px;height:12px;border-radius:2px} .bad{color:#b00020} nav{margin-bottom:14px}
form{margin:10px 0} input{padding:3px 6px} .quiet{color:#888}
"""
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#bab0ac")
_MOST_ROWS = 200


def colour(service: str) -> str:
    """The same colour for the same service on every page."""
    return _COLOURS[sum(service.encode()) % len(_COLOURS)]


def latest(traces: list[list[Span]], service: str, least: float, failed: bool) -> str:
    """The latest traces that have a span of `service`, took `least` milliseconds, and failed, where that is asked."""
    rows = []
    for spans in traces:
        root = tree(spans)[0]
        took = (max(span.end for span in spans) - spans[0].start) / 1e6
        bad = any(span.failed for span in spans)
        if (service and service not in {span.service for span in spans}) or took < least or (failed and not bad):
            continue
        names = " ".join(f'<b style="color:{colour(one)}">{escape(one)}</b>' for one in _services(spans))
        rows.append(
            f"<tr><td>{_clock(spans[0].start)}</td><td><a href='/trace/{quote(root.trace_id)}'>{escape(root.name)}</a>"
            f"{' <b class=bad>✗</b>' if bad else ''}</td><td>{names}</td><td>{len(spans)}</td><td>{took:,.1f}</td></tr>"
        )
    form = (
        f"<form>服务 <input name=service value='{escape(service, quote=True)}'> 至少 <input name=least size=5"
        f" value='{least:g}'> 毫秒 <label><input type=checkbox name=failed {'checked' if failed else ''}>"
        " 只看失败</label> <button>查看</button></form>"
    )
    head = "<tr><th>时间</th><th>入口</th><th>经过的服务</th><th>跨度数</th><th>毫秒</th></tr>"
    none = "<p class=quiet>还没有收到调用链。</p>" if not rows else ""
    return _page("调用链", f"{form}<table>{head}{''.join(rows[:_MOST_ROWS])}</table>{none}")


def waterfall(spans: list[Span]) -> str:
    """One trace: every span below its parent, its bar where it lies in the time of the whole."""
    begin, end = spans[0].start, max(span.end for span in spans)
    whole, deep = max(end - begin, 1), depths(spans)
    rows = []
    for span in tree(spans):
        left, wide = 100 * (span.start - begin) / whole, max(100 * (span.end - span.start) / whole, 0.3)
        told = escape("\n".join(f"{key} = {value}" for key, value in sorted(span.attributes.items())), quote=True)
        rows.append(
            f"<tr title='{told}'><td style='padding-left:{8 + 16 * deep[span.span_id]}px'>"
            f"<b style='color:{colour(span.service)}'>{escape(span.service)}</b> {escape(span.name)}"
            f"{' <b class=bad>✗</b>' if span.failed else ''}</td><td>{span.milliseconds:,.2f}</td><td class=bar>"
            f"<i style='left:{left:.2f}%;width:{wide:.2f}%;background:{colour(span.service)}'></i></td></tr>"
        )
    head = f"<p>{_clock(begin)} · {len(spans)} 个跨度 · {whole / 1e6:,.2f} 毫秒 · <code>{spans[0].trace_id}</code></p>"
    table = f"<table><tr><th>服务与操作</th><th>毫秒</th><th>时间轴</th></tr>{''.join(rows)}</table>"
    return _page("一条调用链", head + table)


def service_map(traces: list[list[Span]]) -> str:
    """Who calls, or follows, whom, and how often; the services on a circle."""
    calls = edges(traces)
    names = sorted({name for pair in calls for name in pair} | {s.service for spans in traces for s in spans})
    if not names:
        return _page("服务关系图", "<p class=quiet>还没有收到调用链。</p>")
    place = {
        name: (320 + 230 * math.sin(2 * math.pi * at / len(names)), 280 - 210 * math.cos(2 * math.pi * at / len(names)))
        for at, name in enumerate(names)
    }
    return _page("服务关系图", _drawn(place, calls))


def missing() -> str:
    """What is not known (any more)."""
    return _page("没有找到", "<p>这条调用链不在内存里: 只保留最近的两千条。</p>")


def _drawn(place: dict[str, tuple[float, float]], calls: Counter[tuple[str, str]]) -> str:
    most = max(calls.values(), default=1)
    parts = [
        "<svg width=640 height=560 role=img><defs><marker id=a orient=auto markerWidth=8 markerHeight=8 refX=7 refY=4>"
        "<path d='M0,0 L8,4 L0,8 z' fill='#888'/></marker></defs>"
    ]
    for (one, other), count in calls.items():
        (x, y), (u, v) = place[one], place[other]
        length = math.hypot(u - x, v - y) or 1
        # Two ways between two services must not lie on one another: each is moved to its own side.
        dx, dy, sx, sy = (u - x) / length, (v - y) / length, -(v - y) / length * 6, (u - x) / length * 6
        thick = 1 + 4 * math.log1p(count) / math.log1p(most)
        parts.append(
            f"<line x1={x + 44 * dx + sx:.0f} y1={y + 44 * dy + sy:.0f}"
            f" x2={u - 46 * dx + sx:.0f} y2={v - 46 * dy + sy:.0f}"
            f" stroke='#888' stroke-width={thick:.1f} marker-end='url(#a)'><title>{escape(one)} → {escape(other)}:"
            f" {count:,} 次</title></line>"
        )
    for name, (x, y) in place.items():
        parts.append(
            f"<circle cx={x:.0f} cy={y:.0f} r=40 fill='{colour(name)}'/><text x={x:.0f} y={y + 5:.0f} fill=white"
            f" text-anchor=middle>{escape(name)}</text>"
        )
    rows = "".join(
        f"<tr><td>{escape(one)}</td><td>{escape(other)}</td><td>{count:,}</td></tr>"
        for (one, other), count in calls.most_common()
    )
    return "".join(parts) + f"</svg><table><tr><th>从</th><th>到</th><th>次数</th></tr>{rows}</table>"


def _services(spans: list[Span]) -> list[str]:
    return list(dict.fromkeys(span.service for span in spans))


def _clock(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _page(title: str, body: str) -> str:
    nav = "<nav><a href='/'>调用链</a> · <a href='/map'>服务关系图</a></nav>"
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>{nav}<h2>{title}</h2>{body}"
    )
