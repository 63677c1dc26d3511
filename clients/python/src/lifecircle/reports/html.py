"""A report as one HTML page that needs nothing else: styles, figures, charts and their library inside."""

from __future__ import annotations

from html import escape
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from lifecircle.portrait import v1
from lifecircle.reports.values import SHARE, TEXT, Value, facts, heading, shown, value

_STYLE = """
body { font: 15px/1.6 "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; color: #222;
       max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em; margin: 0 }
h2 { font-size: 1.2em; margin: 2em 0 .3em; border-left: 4px solid #2f6f9f; padding-left: .5em }
table { border-collapse: collapse; width: 100%; font-size: .9em }
th, td { padding: .3em .6em; border-bottom: 1px solid #ddd; text-align: left }
th { background: #f3f6f9; position: sticky; top: 0 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
tr.total td { font-weight: bold; border-top: 2px solid #888 }
td.hidden { color: #999 }
.note { color: #666; margin: .2em 0 }
.wide { overflow: auto; max-height: 40em }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1em }
dt { color: #666 }
dd { margin: 0 }
details { margin: .4em 0; color: #666; font-size: .85em }
code { word-break: break-all }
"""
_COLOURS = [
    "#2f6f9f",
    "#e08a3c",
    "#4f9d69",
    "#b5525c",
    "#7d6bb0",
    "#8c7853",
    "#d17ba8",
    "#7f7f7f",
    "#b3ac2f",
    "#3fa7b5",
]
_MOST_BARS = 30


def to_html(report: v1.Report) -> str:
    """The page, in Chinese; every figure stands in its cell's data-value exactly as it was told."""
    parts = [f"<h1>{escape(report.title)}</h1>", f"<p>{escape(report.purpose)}</p>", "<dl>"]
    parts += [f"<dt>{escape(name)}</dt><dd>{escape(told)}</dd>" for name, told in facts(report)]
    parts.append("</dl>")
    for table in report.tables:
        parts += _table(table)
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _table(table: v1.ReportTable) -> list[str]:
    parts = [f"<h2>{escape(table.title)}</h2>"]
    if table.note:
        parts.append(f'<p class="note">{escape(table.note)}</p>')
    if table.suppressed_rows:
        parts.append(f'<p class="note">有 {table.suppressed_rows} 行因人数过少未列出数值。</p>')
    if not table.rows:
        return [*parts, '<p class="note">本期没有数据。</p>']
    for number, chart in enumerate(table.charts):
        drawn = figure(table, chart)
        if drawn is not None:
            config = {"displaylogo": False, "responsive": True}
            identity = f"chart-{table.table_id}-{number}"
            parts.append(drawn.to_html(full_html=False, include_plotlyjs=False, div_id=identity, config=config))
    heads = "".join(f'<th class="{_side(column)}">{escape(heading(column))}</th>' for column in table.columns)
    parts.append(f'<div class="wide"><table id="{escape(table.table_id)}"><thead><tr>{heads}</tr></thead><tbody>')
    for row in table.rows:
        cells = "".join(map(_cell, row.cells, table.columns))
        parts.append(f'<tr class="total">{cells}</tr>' if row.total else f"<tr>{cells}</tr>")
    parts.append("</tbody></table></div><details><summary>指标口径</summary><ul>")
    for column in table.columns:
        if column.formula:
            parts.append(f"<li>{escape(column.title)}：<code>{escape(column.formula)}</code></li>")
    return [*parts, "</ul></details>"]


def _cell(cell: v1.ReportCell, column: v1.ReportColumn) -> str:
    told = value(cell)
    exact = "" if told is None else escape(str(told), quote=True)
    hidden = " hidden" if cell.suppressed else ""
    return f'<td class="{_side(column)}{hidden}" data-value="{exact}">{escape(shown(told, column))}</td>'


def _side(column: v1.ReportColumn) -> str:
    return "t" if column.kind == TEXT else "n"


def figure(table: v1.ReportTable, chart: v1.ReportChart) -> go.Figure | None:
    """The chart over the lines whose figures are told; None when there are none."""
    at = {column.name: place for place, column in enumerate(table.columns)}
    lines = [
        [value(cell) for cell in row.cells]
        for row in table.rows
        if not row.total and all(not row.cells[at[name]].suppressed for name in chart.y)
    ]
    lines = [line for line in lines if all(line[at[name]] is not None for name in chart.y)]
    if not lines:
        return None
    column = table.columns[at[chart.y[0]]]
    x = list(dict.fromkeys(line[at[chart.x]] for line in lines))
    if chart.kind == v1.ReportChart.KIND_HEAT:
        drawn = _heat(lines, x, at[chart.x], at[chart.series], at[chart.y[0]])
    else:
        drawn = go.Figure(_bars(table, chart, lines, at))
        drawn.update_layout(barmode="stack" if chart.kind == v1.ReportChart.KIND_STACK else "group")
        drawn.update_yaxes(title=heading(column), tickformat=".0%" if column.kind == SHARE else None)
    drawn.update_layout(
        title=chart.title, height=420, margin={"l": 60, "r": 20, "t": 50, "b": 90}, template="plotly_white",
        colorway=_COLOURS,
    )  # fmt: skip
    drawn.update_xaxes(type="category")
    return drawn


def _bars(table: v1.ReportTable, chart: v1.ReportChart, lines: list[list[Value]], at: dict[str, int]) -> list[Any]:
    form = go.Scatter if chart.kind == v1.ReportChart.KIND_LINE else go.Bar
    traces = []
    for name in chart.y:
        column = table.columns[at[name]]
        groups: dict[str, list[list[Value]]] = {}
        for line in lines if chart.kind == v1.ReportChart.KIND_STACK else lines[:_MOST_BARS]:
            key = str(line[at[chart.series]]) if chart.series else column.title
            groups.setdefault(key, []).append(line)
        for key, members in groups.items():
            told = {"x": [line[at[chart.x]] for line in members], "y": [line[at[name]] for line in members]}
            traces.append(form(name=key, **told))
    return traces


def _heat(lines: list[list[Value]], x: list[Value], at_x: int, at_series: int, at_y: int) -> go.Figure:
    series = list(dict.fromkeys(line[at_series] for line in lines))
    sums: dict[tuple[Value, Value], float] = {}
    for line in lines:
        key = (line[at_series], line[at_x])
        sums[key] = sums.get(key, 0.0) + float(line[at_y] or 0)
    field = [[sums.get((each, place)) for place in x] for each in series]
    return go.Figure(go.Heatmap(x=x, y=series, z=field, colorscale="Blues", hoverongaps=False))
