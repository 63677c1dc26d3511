"""Reports (报表) and themes (主题): one definition each, small groups suppressed, one period held against another."""

from services.portrait.domain.report.definition import Chart, Column, Report, ReportInvalid, Table, parse_reports
from services.portrait.domain.report.figures import (
    WITHHELD,
    Line,
    Measured,
    Part,
    Value,
    compared,
    from_json,
    part_of,
    to_json,
)
from services.portrait.domain.report.suppression import suppressed

__all__ = [
    "WITHHELD", "Chart", "Column", "Line", "Measured", "Part", "Report", "ReportInvalid", "Table", "Value", "compared",
    "from_json", "parse_reports", "part_of", "suppressed", "to_json",
]  # fmt: skip
