"""Reports of the platform as a page and as a workbook: one renderer for all services.

Needs `pip install lifecircle-client[reports]`.

    report = await fetch(platform, "circle_distribution", period="2026-09", compare=True)
    html, xlsx = write(report, Path("reports"))

A report is a `lifecircle.portrait.v1.Report`: portrait's come so; those of recommend and contact are made of the
answers of their RPCs by definitions.yaml. Page and workbook show the same figures, and the same report
gives the same bytes.
"""

from lifecircle.reports.excel import to_excel
from lifecircle.reports.fetch import ReportUnknown, fetch, names
from lifecircle.reports.html import to_html
from lifecircle.reports.writing import write

__all__ = ["ReportUnknown", "fetch", "names", "to_excel", "to_html", "write"]
