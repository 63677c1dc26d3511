"""One renderer for all reports: page and workbook have the same figures, need nothing else, and are always the same."""

import io
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.type.date_pb2 import Date
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from lifecircle import reports
from lifecircle.__main__ import main
from lifecircle.contact import v1 as contact
from lifecircle.portrait import v1
from lifecircle.recommend import v1 as recommend
from lifecircle.reports.values import value
from lifecircle.reports.withholding import withheld

Kind = v1.ReportColumn
WORDS = ["写字楼白领圈", "=1+1", "<script>alert(1)</script>", "东门\x0b广场\x00"]


def made() -> v1.Report:
    """A report with every kind of cell, and words that are not to be taken for formulas or tags."""
    report = v1.Report(report_id="circles", title="生活圈<分布>", purpose="看", smallest_group=10, run_id="r")
    report.to_date.CopyFrom(Date(year=2026, month=9, day=30))
    table = report.tables.add(table_id="one", title="分布[1]", note="注", suppressed_rows=1)
    for name, kind in (("circle", Kind.KIND_TEXT), ("people", Kind.KIND_INTEGER), ("arpu", Kind.KIND_DECIMAL),
                       ("share", Kind.KIND_SHARE)):  # fmt: skip
        table.columns.add(name=name, title=name, kind=kind, formula="" if name == "circle" else f"f({name})")
    for number, word in enumerate(WORDS):
        row = table.rows.add()
        row.cells.add(text=word)
        row.cells.add(integer=1234 * (number + 1))
        row.cells.add(number=12.345678 * (number + 1))
        row.cells.add(number=1 / 3)
    hidden = table.rows.add()
    hidden.cells.add(text="小组")
    for _ in range(3):
        hidden.cells.add(suppressed=True)
    total = table.rows.add(total=True)
    total.cells.add(text="合计")
    total.cells.add(integer=9999)
    total.cells.add()
    total.cells.add(number=1.0)
    for form in (v1.ReportChart.KIND_BAR, v1.ReportChart.KIND_STACK, v1.ReportChart.KIND_LINE):
        table.charts.add(kind=form, title="图", x="circle", y=["people", "share"])
    table.charts.add(kind=v1.ReportChart.KIND_HEAT, title="热", x="circle", y=["share"], series="circle")
    return report


class Page(HTMLParser):
    """The figures of a page, and everything in it that would fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.fetched: list[str] = []
        self.scripts = 0
        self._table = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.fetched += [f"{tag} {name}" for name in ("src", "href", "srcset", "data", "action") if name in told]
        self.fetched += [tag] if tag in ("link", "iframe", "object", "embed", "base") else []
        self.scripts += tag == "script"
        if tag == "table":
            self._table = told["id"] or ""
            self.tables[self._table] = []
        elif tag == "tr" and self._table:
            self.tables[self._table].append([])
        elif tag == "td":
            self.tables[self._table][-1].append(told["data-value"] or "")


def page(report: v1.Report) -> Page:
    parser = Page()
    parser.feed(reports.to_html(report))
    return parser


def same_figures(report: v1.Report) -> None:
    """Page and workbook, read back, have what the report says."""
    book, seen = load_workbook(io.BytesIO(reports.to_excel(report))), page(report)
    for number, table in enumerate(report.tables):
        wanted = [[value(cell) for cell in row.cells] for row in table.rows]
        sheet = book.worksheets[number + 1]
        assert [list(row) for row in sheet.iter_rows(min_row=2, values_only=True)] == wanted
        assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
        if wanted:
            told = ["" if each is None else str(each) for row in wanted for each in row]
            assert [each for row in seen.tables[table.table_id] if row for each in row] == told
    assert seen.fetched == []


def test_page_and_workbook_have_the_same_figures_and_nothing_from_outside() -> None:
    """R001-118: figures equal in both; words stay words; the library of charts stands in the page once.

    R002-067: statistics with their charts (bars, stacks, lines, heat) on one page.
    """
    report = made()
    same_figures(report)
    text = reports.to_html(report)
    assert text.count("plotly.js v") == 1
    assert "<script>alert(1)" not in text
    assert "生活圈&lt;分布&gt;" in text
    assert ">东门广场<" in text


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from("uvwx")), st.integers(0, 40), min_size=1))
def test_no_withheld_count_can_be_had_from_totals(counts: dict[tuple[str, str], int]) -> None:
    """What is withheld from a known total is two lines or more of ten people together, or all that there is."""
    keys, people = list(counts), list(counts.values())
    hidden = withheld(keys, people, [[], [0], [1]], 10)
    for kept in ((), (0,), (1,)):
        for told in {tuple(key[place] for place in kept) for key in keys}:
            part = [at for at, key in enumerate(keys) if tuple(key[place] for place in kept) == told]
            gone, left = [at for at in part if hidden[at]], [at for at in part if not hidden[at] and people[at]]
            assert all(people[at] >= 10 for at in left)
            assert not gone or not left or (len(gone) > 1 and sum(people[at] for at in gone) >= 10)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    report = made()
    assert reports.to_excel(report) == reports.to_excel(report)
    assert reports.to_html(report) == reports.to_html(report)
    assert [path.name for path in reports.write(report, tmp_path / "new")] == [
        "circles_2026-09-30.html", "circles_2026-09-30.xlsx",
    ]  # fmt: skip


class Fake:
    """recommend and contact with two matrices and a few lines."""

    def __init__(self) -> None:
        self.portrait = self.recommend = self.contact = self

    async def WatchMatrices(self, request: Any) -> Any:
        for day in (1, 2):
            matrix = recommend.Matrix(matrix_id=f"m{day}", as_of_date=Date(year=2026, month=9, day=day))
            yield recommend.WatchMatricesResponse(cursor=str(day), matrix=matrix)
        yield recommend.WatchMatricesResponse(cursor="2")
        raise AssertionError("nothing is read behind a checkpoint")

    async def GetMatrixReport(self, request: recommend.GetMatrixReportRequest) -> Any:
        day = int(request.matrix_id[1:])
        rows = [
            recommend.MatrixRow(
                product_id="P1", name="彩铃", owners=50, customers=100 * day, first=20, mean_score=0.25
            ),
            recommend.MatrixRow(product_id="P2", name="小众", owners=1, customers=3, first=1, mean_score=0.5),
            recommend.MatrixRow(
                product_id="P3", name="新", owners=3 * day, customers=90, first=5 * day, mean_score=0.5
            ),
        ]
        return recommend.GetMatrixReportResponse(rows=rows)

    async def GetMatrixEffect(self, request: recommend.GetMatrixEffectRequest) -> Any:
        return recommend.GetMatrixEffectResponse(bands=[recommend.MatrixBand(cells=100, opened=7, rate=0.07, lift=1.4)])

    async def ListTimeSpace(self, request: contact.ListTimeSpaceRequest) -> Any:
        told = [
            ("440100", contact.CHANNEL_SMS, 120),
            ("440100", contact.CHANNEL_APP, 30),
            ("440200", contact.CHANNEL_SMS, 3),
        ]
        lines = [
            contact.TimeSpaceLine(weekday=1, hour=10, org_id=org, channel=channel, sent=sent, opened=sent // 3)
            for org, channel, sent in told
        ]
        return contact.ListTimeSpaceResponse(lines=lines)

    async def ListEffectReports(self, request: contact.ListEffectReportsRequest) -> Any:
        line = contact.EffectReport(campaign_id="c", name="九月", sent=500, cost_fen=12345, roi=1.5)
        line.opening.rate = 0.12
        return contact.ListEffectReportsResponse(lines=[line])


def cells(report: v1.Report, row: int = 0, table_at: int = 0) -> dict[str, Any]:
    table = report.tables[table_at]
    return {column.name: value(cell) for column, cell in zip(table.columns, table.rows[row].cells, strict=True)}


async def test_reports_of_recommend_and_contact_come_from_their_answers() -> None:
    """R001-119, R001-123, R001-125, R001-126: made of the services' own RPCs by one definition each."""
    platform: Any = Fake()
    matrix = await reports.fetch(platform, "matrix", compare=True)
    assert (matrix.run_id, matrix.compare_run_id) == ("m2", "m1")
    first = cells(matrix)
    assert (first["customers"], first["customers_before"], first["customers_change"]) == (200, 100, 100)
    assert cells(matrix, 1)["customers"] == "＊"
    few = cells(matrix, 2)
    assert (few["customers"], few["owners"], few["first"], few["first_before"], few["first_change"]) == (
        90, "＊", 10, "＊", "＊",
    )  # fmt: skip
    assert cells(await reports.fetch(platform, "matrix", "2026-09-01"))["customers"] == 100
    effect = cells(await reports.fetch(platform, "matrix_effect"))
    assert (effect["band"], effect["rate"], effect["lift"]) == ("1", 0.07, 1.4)
    space = await reports.fetch(platform, "time_space")
    hour = cells(space)
    assert (hour["weekday"], hour["hour"], hour["sent"], hour["opened"]) == ("周一", "10", 153, 51)
    told = [[cells(space, row, at)["sent"] for row in range(len(space.tables[at].rows))] for at in (1, 2, 3)]
    assert told == [["＊"] * 3, [123, 30], ["＊"] * 3], "three is withheld, and with it what would tell it"
    campaign = cells(await reports.fetch(platform, "campaign_effect"))
    assert (campaign["campaign"], campaign["opening"], campaign["cost"]) == ("九月", 0.12, 123.45)
    for name in ("matrix", "matrix_effect", "time_space", "campaign_effect"):
        same_figures(await reports.fetch(platform, name))
    with pytest.raises(reports.ReportUnknown):
        await reports.fetch(platform, "matrix", "2027-01")
    with pytest.raises(reports.ReportUnknown):
        await reports.fetch(platform, "time_space", "2026-09")


async def test_names_are_those_of_all_services() -> None:
    async def listed(request: Any) -> v1.ListReportsResponse:
        return v1.ListReportsResponse(reports=[v1.Report(report_id="circle_distribution", title="生活圈分布报表")])

    platform: Any = SimpleNamespace(portrait=SimpleNamespace(ListReports=listed))
    assert [name for name, _ in await reports.names(platform)] == [
        "circle_distribution", "matrix", "matrix_effect", "time_space", "campaign_effect",
    ]  # fmt: skip


def test_the_verb_says_whose_token_it_needs(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.delenv("LIFECIRCLE_TOKEN_FILE", raising=False)
    assert main(["report", "circle_distribution"]) == 2
    assert "token" in capsys.readouterr().err
