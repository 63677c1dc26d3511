"""The RPCs of reports."""

from typing import Any

import grpc.aio

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.interceptors import caller
from services.portrait.api import translate
from services.portrait.api.tags import position, stamp
from services.portrait.domain.report import WITHHELD, Column, Line, Part, Report, Value
from services.portrait.store.reports import Kept, Schedule
from services.portrait.usecases.reports import ReportDesk, Told

Context = grpc.aio.ServicerContext[Any, Any]

RIGHTS = {
    "ListReports": frozenset({"viewer", "operator", "service"}),
    "GetReport": frozenset({"viewer", "operator", "service"}),
    "CreateReportSchedule": frozenset({"operator", "service"}),
    "ListReportSchedules": frozenset({"viewer", "operator", "service"}),
    "DeleteReportSchedule": frozenset({"operator", "service"}),
    "ListReportVersions": frozenset({"viewer", "operator", "service"}),
}


class ReportRpcs:
    """What PortraitApi answers about reports."""

    _reports: ReportDesk

    async def ListReports(self, request: v1.ListReportsRequest, context: Context) -> v1.ListReportsResponse:
        """A page of the definitions."""
        size = paging.clamp(request.page_size)
        found = self._reports.definitions(translate.page_after(request.page_token, "ListReports"), size)
        token = translate.next_token("ListReports", found[-1].report_id if found else "", len(found) == size)
        return v1.ListReportsResponse(reports=map(_definition, found), next_page_token=token)

    async def GetReport(self, request: v1.GetReportRequest, context: Context) -> v1.GetReportResponse:
        """A report with its figures."""
        told = await self._reports.get(request.report_id, request.period, request.compare, caller().org)
        return v1.GetReportResponse(report=_report(told))

    async def CreateReportSchedule(
        self, request: v1.CreateReportScheduleRequest, context: Context
    ) -> v1.CreateReportScheduleResponse:
        """A report that is made for each run."""
        key, who = idempotency.key_of(request, context), caller()
        made = await self._reports.schedule(request.report_id, request.compare, who.org, who.subject, key)
        return v1.CreateReportScheduleResponse(schedule=_schedule(made))

    async def ListReportSchedules(
        self, request: v1.ListReportSchedulesRequest, context: Context
    ) -> v1.ListReportSchedulesResponse:
        """A page of schedules."""
        size, of = paging.clamp(request.page_size), "ListReportSchedules"
        found = await self._reports.schedules(translate.page_after(request.page_token, of), size)
        token = translate.next_token(of, found[-1].schedule_id if found else "", len(found) == size)
        return v1.ListReportSchedulesResponse(schedules=map(_schedule, found), next_page_token=token)

    async def DeleteReportSchedule(
        self, request: v1.DeleteReportScheduleRequest, context: Context
    ) -> v1.DeleteReportScheduleResponse:
        """A schedule that is given up."""
        key = idempotency.key_of(request, context)
        return v1.DeleteReportScheduleResponse(
            schedule=_schedule(await self._reports.unschedule(request.schedule_id, key))
        )

    async def ListReportVersions(
        self, request: v1.ListReportVersionsRequest, context: Context
    ) -> v1.ListReportVersionsResponse:
        """A page of what is kept."""
        size, of = paging.clamp(request.page_size), f"ListReportVersions {request.report_id}"
        found = await self._reports.versions(request.report_id, position(request.page_token, of), size)
        token = translate.next_token(of, str(found[-1].seq) if found else "", len(found) == size)
        return v1.ListReportVersionsResponse(versions=map(_version, found), next_page_token=token)


def _definition(known: Report) -> v1.Report:
    return _named(known, [Part(table, table.columns, (), 0) for table in known.tables])


def _report(told: Told) -> v1.Report:
    report = _named(told.report, told.parts)
    report.MergeFrom(
        v1.Report(
            run_id=told.run.run_id,
            from_date=translate.to_date(told.run.from_date),
            to_date=translate.to_date(told.run.to_date),
            compare_run_id=told.compare_run.run_id if told.compare_run else "",
            compare_to_date=translate.to_date(told.compare_run.to_date) if told.compare_run else None,
            org_id=told.org_id,
        )
    )
    return report


def _named(known: Report, parts: list[Part]) -> v1.Report:
    return v1.Report(
        report_id=known.report_id,
        title=known.title,
        purpose=known.purpose,
        smallest_group=known.smallest_group,
        tables=map(_table, parts),
    )


def _table(part: Part) -> v1.ReportTable:
    charts = [
        v1.ReportChart(
            kind=v1.ReportChart.Kind.Value(f"KIND_{chart.kind.upper()}"),
            title=chart.title,
            x=chart.x,
            y=chart.y,
            series=chart.series,
        )
        for chart in part.table.charts
    ]
    return v1.ReportTable(
        table_id=part.table.table_id,
        title=part.table.title,
        note=part.table.note,
        columns=map(_column, part.columns),
        rows=[_row(line, part.columns) for line in part.lines],
        charts=charts,
        suppressed_rows=part.withheld,
    )


def _column(column: Column) -> v1.ReportColumn:
    return v1.ReportColumn(
        name=column.name,
        title=column.title,
        kind=v1.ReportColumn.Kind.Value(f"KIND_{column.kind.upper()}"),
        unit=column.unit,
        formula="" if column.kind == "text" else column.formula,
    )


def _row(line: Line, columns: tuple[Column, ...]) -> v1.ReportRow:
    cells = [_cell(value, column.kind) for value, column in zip(line.values, columns, strict=True)]
    return v1.ReportRow(cells=cells, total=line.total)


def _cell(value: Value, kind: str) -> v1.ReportCell:
    if value is WITHHELD:
        return v1.ReportCell(suppressed=True)
    if value is None:
        return v1.ReportCell()
    if kind == "text":
        return v1.ReportCell(text=str(value))
    if kind == "integer":
        return v1.ReportCell(integer=int(value))
    return v1.ReportCell(number=float(value))


def _schedule(known: Schedule) -> v1.ReportSchedule:
    return v1.ReportSchedule(
        schedule_id=known.schedule_id,
        report_id=known.report_id,
        compare=known.compared,
        org_id=known.org_id,
        owner=known.owner,
        create_time=stamp(known.create_time),
    )


def _version(known: Kept) -> v1.ReportVersion:
    return v1.ReportVersion(
        report_id=known.report_id,
        run_id=known.run_id,
        compare_run_id=known.compare_run_id,
        org_id=known.org_id,
        to_date=translate.to_date(known.to_date),
        sha256=known.sha256,
        create_time=stamp(known.create_time),
    )
