"""Runs the benchmarks: `python -m benchmarks [NAME …]`; every result is kept in benchmarks/results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console

from benchmarks import demo, get_portrait, record

ALL: dict[str, Callable[[Console], dict[str, Any]]] = {"get_portrait": get_portrait.measure, "demo": demo.measure}


def main() -> None:
    """Reads which to run; all when none is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which (default: all)")
    console = Console()
    for name in parser.parse_args().names or ALL:
        console.rule(name)
        figures = ALL[name](console)
        console.print_json(json.dumps(figures, ensure_ascii=False))
        console.print(f"kept as {record.keep(name, figures).relative_to(record.RESULTS.parent.parent)}")


if __name__ == "__main__":
    main()
