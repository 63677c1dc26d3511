"""Runs the benchmarks: `python -m benchmarks [NAME …]`; every result is kept in benchmarks/results.

A benchmark is a module of this folder with `measure(console)`: it gives its figures as one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from rich.console import Console

from benchmarks import record

ALL = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef measure(" in path.read_text("utf-8"))


def main() -> None:
    """Reads which to run; all when none is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which (default: all)")
    console = Console()
    for name in parser.parse_args().names or ALL:
        console.rule(name)
        figures = importlib.import_module(f"benchmarks.{name}").measure(console)
        console.print_json(json.dumps(figures, ensure_ascii=False))
        console.print(f"kept as {record.keep(name, figures).relative_to(record.RESULTS.parent.parent)}")


if __name__ == "__main__":
    main()
