"""Rule sets as an analyst edits them in Excel: the same definition as `rule_text`, on sheets.

    rule_set        name, value: description, most_amount_fen, weight.development, weight.stock
    splits          split, role, bps
    tables          table, component, to, hit, valid_from, valid_to
    rows            table, id, <cells>, fixed, num, den
    multipliers     multiplier, tables
    factors         multiplier, id, <cells>, bps
    tiers           id, component, of, tables, <cells>
    steps           tier, from, bps, fixed
    caps            id, component, per, window, tables, most

<cells> are type, product, category, channel, staff_role, customer_type (values with commas between), amount_from,
amount_to, date_from and date_to. An empty cell is not there. Order on a sheet is order in the rules. Formulas are not
evaluated: a cell that holds one is refused. A bad cell is refused with sheet, row and column.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import openpyxl
import yaml
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.worksheet import Worksheet

from services.kit.errors import Refusal
from services.points.domain.rule_cells import TAG
from services.points.domain.rule_set import SET_COLUMNS, RuleSet
from services.points.domain.rule_text import read, tree
from services.points.refusals import rule_set_invalid

_CELLS = (*SET_COLUMNS, "amount_from", "amount_to", "date_from", "date_to")
SHEETS: dict[str, tuple[str, ...]] = {
    "rule_set": ("name", "value"),
    "splits": ("split", "role", "bps"),
    "tables": ("table", "component", "to", "hit", "valid_from", "valid_to"),
    "rows": ("table", "id", *_CELLS, "fixed", "num", "den"),
    "multipliers": ("multiplier", "tables"),
    "factors": ("multiplier", "id", *_CELLS, "bps"),
    "tiers": ("id", "component", "of", "tables", *_CELLS),
    "steps": ("tier", "from", "bps", "fixed"),
    "caps": ("id", "component", "per", "window", "tables", "most"),
}
"""The sheets and their columns."""

_LISTS = {*SET_COLUMNS, "tables"}
_RANGES = {"amount_from": ("amount_fen", "from"), "amount_to": ("amount_fen", "to"), "date_from": ("date", "from"),
           "date_to": ("date", "to"), "valid_from": ("valid", "from"), "valid_to": ("valid", "to")}  # fmt: skip
_MOST_ROWS = 20_000
_HEAD = 1


def parse(data: bytes) -> RuleSet:
    """The rule set of a workbook, checked whole. Raises rule_set_invalid with sheet, row and column."""
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=False, data_only=False)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise rule_set_invalid("workbook", "is not an Excel workbook (.xlsx)") from error
    for name in book.sheetnames:
        if name not in SHEETS:
            raise rule_set_invalid(f"sheet {name}", f"is not known; known are {', '.join(SHEETS)}")
    reading = _Reading()
    node = reading.definition({name: list(_records(book[name])) for name in book.sheetnames})
    try:
        return read(node)
    except Refusal as refusal:
        place = refusal.metadata.get("place", "")
        where = reading.where(place)
        if not where:
            raise
        raise rule_set_invalid(where, refusal.message.removeprefix(f"{place}: ")) from refusal


def dump(rules: RuleSet) -> bytes:
    """The definition as a workbook: `parse(dump(rules)) == rules`."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in _sheets(tree(rules)).items():
        sheet = book.create_sheet(name)
        sheet.append(list(SHEETS[name]))
        for row in rows:
            sheet.append([row.get(column) for column in SHEETS[name]])
        sheet.freeze_panes = "A2"
        for number, column in enumerate(SHEETS[name], 1):
            width = max([len(column), *(len(str(row.get(column) or "")) for row in rows)])
            sheet.column_dimensions[get_column_letter(number)].width = min(60, 2 + width)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


class _Record:
    """A row of a sheet: the cells that are there, and where each stands."""

    def __init__(self, sheet: str, number: int, cells: dict[str, Any], columns: dict[str, str]) -> None:
        self.sheet, self.number, self.cells, self._columns = sheet, number, cells, columns

    def place(self, column: str) -> str:
        return f"sheet {self.sheet}, row {self.number}, column {self._columns.get(column, '?')} ({column})"

    def text(self, column: str) -> str:
        if column not in self.cells:
            raise rule_set_invalid(self.place(column), "is empty")
        return str(self.cells[column])


def _records(sheet: Worksheet) -> Iterator[_Record]:
    columns = SHEETS[sheet.title]
    rows = sheet.iter_rows(max_row=min(sheet.max_row, _MOST_ROWS + _HEAD))
    head = [str(cell.value or "").strip() for cell in next(rows, ())]
    letters: dict[str, str] = {}
    for number, name in enumerate(head, 1):
        place = f"sheet {sheet.title}, row 1, column {get_column_letter(number)}"
        if name and name not in columns:
            raise rule_set_invalid(place, f"{name} is not known here; known are {', '.join(columns)}")
        if name in letters:
            raise rule_set_invalid(place, f"{name} stands twice")
        if name:
            letters[name] = get_column_letter(number)
    for number, row in enumerate(rows, _HEAD + 1):
        cells = {name: c.value for name, c in zip(head, row, strict=False) if name and c.value not in (None, "")}
        record = _Record(sheet.title, number, cells, letters)
        for cell in row:
            if cell.data_type == "f":
                place = f"sheet {sheet.title}, row {number}, column {get_column_letter(int(cell.column or 1))}"
                raise rule_set_invalid(place, "holds a formula; write the value")
        if cells:
            yield record


class _Reading:
    """Makes the nodes of a definition, and remembers which cell each place is."""

    def __init__(self) -> None:
        self._where: dict[str, str] = {}
        self._rows: dict[str, _Record] = {}

    def where(self, place: str) -> str:
        """The cell of a place, empty ones too, or of the nearest one around it."""
        row, _, column = place.rpartition(".")
        if place not in self._where and row in self._rows and column in SHEETS[self._rows[row].sheet]:
            return self._rows[row].place(column)
        while place and place not in self._where:
            cut = max(place.rfind("."), place.rfind("["))
            place = place[:cut] if cut > 0 else ""
        return self._where.get(place, "")

    def definition(self, sheets: dict[str, list[_Record]]) -> yaml.Node:
        fields: dict[str, yaml.Node] = {}
        weights: dict[str, yaml.Node] = {}
        for record in sheets.get("rule_set", []):
            name = record.text("name")
            place = name.replace("weight.", "weights.")
            self._where[place] = record.place("value")
            node = _scalar(record.cells.get("value", ""))
            if name.startswith("weight."):
                self._where.setdefault("weights", record.place("value"))
                weights[name.removeprefix("weight.")] = node
            else:
                fields[name] = node
        if weights:
            fields["weights"] = _mapping(weights)
        fields |= self._splits(sheets.get("splits", []))
        fields["tables"] = self._groups("tables", "table", sheets.get("tables", []), sheets.get("rows", []))
        if sheets.get("multipliers"):
            fields["multipliers"] = self._groups("multipliers", "multiplier", sheets["multipliers"],
                                                 sheets.get("factors", []))  # fmt: skip
        fields |= self._tiers(sheets.get("tiers", []), sheets.get("steps", []))
        caps = [self._cells(record, f"caps[{n}]") for n, record in enumerate(sheets.get("caps", []), 1)]
        return _mapping(fields | ({"caps": _sequence(caps)} if caps else {}))

    def _splits(self, records: Sequence[_Record]) -> dict[str, yaml.Node]:
        splits: dict[str, dict[str, yaml.Node]] = {}
        for record in records:
            name, role = record.text("split"), record.text("role")
            self._where[f"splits.{name}.{role}"] = record.place("bps")
            self._where.setdefault(f"splits.{name}", record.place("split"))
            splits.setdefault(name, {})[role] = _scalar(record.cells.get("bps", ""))
        return {"splits": _mapping({name: _mapping(roles) for name, roles in splits.items()})} if splits else {}

    def _groups(self, part: str, key: str, heads: Sequence[_Record], rows: Sequence[_Record]) -> yaml.Node:
        """Tables with their rows, multipliers with their factors."""
        groups: dict[str, dict[str, yaml.Node]] = {}
        lists: dict[str, list[yaml.Node]] = {}
        for head in heads:
            name = head.text(key)
            if name in groups:
                raise rule_set_invalid(head.place(key), f"{name} stands twice")
            groups[name] = dict(_entries(self._cells(head, f"{part}.{name}", without=(key,))))
            lists[name] = []
        for record in rows:
            name = record.text(key)
            if name not in lists:
                raise rule_set_invalid(record.place(key), f"{name} does not stand on the sheet {part}")
            place = f"{part}.{name}[{len(lists[name]) + 1}]"
            lists[name].append(self._cells(record, place, without=(key,)))
        return _mapping({n: _mapping({**fields, "rows": _sequence(lists[n])}) for n, fields in groups.items()})

    def _tiers(self, tiers: Sequence[_Record], steps: Sequence[_Record]) -> dict[str, yaml.Node]:
        places = {record.text("id"): number for number, record in enumerate(tiers, 1)}
        lists: dict[str, list[yaml.Node]] = {name: [] for name in places}
        for record in steps:
            name = record.text("tier")
            if name not in lists:
                raise rule_set_invalid(record.place("tier"), f"{name} does not stand on the sheet tiers")
            place = f"tiers[{places[name]}].steps[{len(lists[name]) + 1}]"
            lists[name].append(self._cells(record, place, without=("tier",)))
        nodes = [
            _mapping({**dict(_entries(self._cells(r, f"tiers[{n}]"))), "steps": _sequence(lists[r.text("id")])})
            for n, r in enumerate(tiers, 1)
        ]
        return {"tiers": _sequence(nodes)} if nodes else {}

    def _cells(self, record: _Record, place: str, without: Sequence[str] = ()) -> yaml.MappingNode:
        self._where[place] = record.place(next(iter(record.cells)))
        self._rows[place] = record
        fields: dict[str, yaml.Node] = {}
        ranges: dict[str, dict[str, yaml.Node]] = {}
        for column, value in record.cells.items():
            if column in without:
                continue
            if column in _RANGES:
                name, end = _RANGES[column]
                ranges.setdefault(name, {})[end] = _scalar(value)
                self._where[f"{place}.{name}.{end}"] = record.place(column)
                self._where.setdefault(f"{place}.{name}", record.place(column))
                continue
            self._where[f"{place}.{column}"] = record.place(column)
            if column in _LISTS:
                words = [word.strip() for word in str(_plain(value)).split(",")]
                fields[column] = _sequence([_text(word) for word in words if word])
            elif column == "id":
                fields[column] = _text(str(_plain(value)))
            else:
                fields[column] = _scalar(value)
        return _mapping(fields | {name: _mapping(ends) for name, ends in ranges.items()})


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _scalar(value: Any) -> yaml.ScalarNode:
    """A cell as YAML would have it: whole numbers, dates and texts; what is none of them is refused when it is read."""
    value = _plain(value)
    if isinstance(value, bool):
        return yaml.ScalarNode(TAG + "bool", str(value))
    if isinstance(value, int):
        return yaml.ScalarNode(TAG + "int", str(value))
    if isinstance(value, datetime | date):
        day = value.date() if isinstance(value, datetime) else value
        return yaml.ScalarNode(TAG + "timestamp", day.isoformat())
    if isinstance(value, float):
        return yaml.ScalarNode(TAG + "float", str(value))
    return _text(str(value))


def _text(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode(TAG + "str", value)


def _mapping(fields: dict[str, yaml.Node]) -> yaml.MappingNode:
    return yaml.MappingNode(TAG + "map", [(_text(name), node) for name, node in fields.items()])


def _sequence(nodes: Sequence[yaml.Node]) -> yaml.SequenceNode:
    return yaml.SequenceNode(TAG + "seq", list(nodes))


def _entries(node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
    for key, value in node.value:
        yield key.value, value


def _sheets(value: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each sheet; sheets that would be empty are there too, with their columns."""
    head = [{"name": name, "value": value[name]} for name in ("description", "most_amount_fen") if name in value]
    head += [{"name": f"weight.{name}", "value": bps} for name, bps in value.get("weights", {}).items()]
    sheets: dict[str, list[dict[str, Any]]] = {name: [] for name in SHEETS}
    sheets["rule_set"] = head
    for name, roles in value.get("splits", {}).items():
        sheets["splits"] += [{"split": name, "role": role, "bps": bps} for role, bps in roles.items()]
    for name, table in value["tables"].items():
        sheets["tables"].append({"table": name} | _flat({k: v for k, v in table.items() if k != "rows"}))
        sheets["rows"] += [{"table": name} | _flat(row) for row in table["rows"]]
    for name, each in value.get("multipliers", {}).items():
        sheets["multipliers"].append({"multiplier": name} | _flat({k: v for k, v in each.items() if k != "rows"}))
        sheets["factors"] += [{"multiplier": name} | _flat(row) for row in each["rows"]]
    for tier in value.get("tiers", []):
        sheets["tiers"].append(_flat({k: v for k, v in tier.items() if k != "steps"}))
        sheets["steps"] += [{"tier": tier["id"]} | _flat(step) for step in tier["steps"]]
    sheets["caps"] = [_flat(cap) for cap in value.get("caps", [])]
    return sheets


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {column: value[end] for column, (of, end) in _RANGES.items() if of == name and end in value}
        else:
            flat[name] = _listed(value) if isinstance(value, list) else value
    return flat


def _listed(values: list[str]) -> str:
    for value in values:
        if "," in value or value != value.strip():
            raise rule_set_invalid("workbook", f"{value!r} holds a comma or outer blanks, which a sheet cannot")
    return ", ".join(values)
