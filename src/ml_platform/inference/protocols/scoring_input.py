"""Bodies of MLflow's scoring protocol to typed rows: four JSON forms and CSV, without pandas.

    {"dataframe_split": {"columns": [...], "data": [[...], ...]}}
    {"dataframe_records": [{...}, ...]}
    {"instances": [{...}, ...]}          or rows in the signature's order
    {"inputs": {"column": [...], ...}}   or as `instances`

Beside them may stand `"params": {...}`. What is answered means what MLflow's own scoring server makes of it: columns
that the signature does not know are ignored, `params` of a model that declares none too, and a single column needs
no brackets. A param that a model with params does not declare is refused. What MLflow
would bend into shape (a text as a number, 1.5 as an integer, a missing value in a required column) is refused
by the column's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from ml_platform.inference.decoding import UNSET, Decoded, InputColumn, InputDecoder, Row, annotation, explain
from ml_platform.inference.errors import InvalidInput, TooLarge
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.protocols.scoring_csv import Cell, cell_reader, read_table

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_LAYOUTS_KEPT = 64
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class SchemaViolation(InvalidInput):
    """The body is well formed, but its columns are not the signature's."""


class ScoringDecoder:
    """Compiled once for each revision."""

    def __init__(self, decoder: InputDecoder, *, tensor: bool) -> None:
        self._decoder = decoder
        self._tensor = tensor
        self._columns = (*decoder.columns, *decoder.entity_columns)
        self._positions = {column.name: index for index, column in enumerate(self._columns)}
        fields = [decoder.field(f"c{index}", column) for index, column in enumerate(self._columns)]
        # What a row has in a column that was not given; the columns that are not here must be given.
        self._defaults = {index: field[2] for index, field in enumerate(fields) if len(field) == 3}
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        renames = {f"c{index}": column.name for index, column in enumerate(self._columns)}
        self._record = msgspec.defstruct("Record", fields, rename=renames, kw_only=True, gc=False)
        self._table = msgspec.defstruct(
            "Inputs", [_column_field(field) for field in fields], rename=renames, kw_only=True
        )
        self._decode = msgspec.json.Decoder(self._body()).decode

    def decode_json(self, body: bytes) -> Decoded:
        """The typed rows of a JSON body.

        Raises:
            InvalidInput: naming the field and what was expected.
            TooLarge: when there are more rows than allowed.
        """
        try:
            parsed: Any = self._decode(body)
        except msgspec.ValidationError as error:
            raise InvalidInput(explain(str(error), self._names)) from None
        except _BROKEN as error:
            raise InvalidInput(f"the body is not valid JSON: {error}") from None
        given = [form for form in FORMS if getattr(parsed, form) is not UNSET]
        if len(given) != 1:
            raise InvalidInput(
                f"the body must be a JSON object with exactly one of the fields {', '.join(FORMS)};"
                f" got {' and '.join(given) or 'none of them'}"
            )
        form = given[0]
        value = getattr(parsed, form)
        params = self._params(parsed.params) if self._decoder.params is not None else None
        if form == "dataframe_split":
            return self._split(value, params)
        if type(value) is self._table:
            return self._finish(self._rows_of_columns(msgspec.structs.astuple(value)), form, params)
        if self._tensor and form == "dataframe_records":
            return self._finish(self._tensor_records(value), form, params)
        kind, as_tuple = self._record, msgspec.structs.astuple
        rows = [
            as_tuple(row)
            if type(row) is kind
            else row
            if type(row) is tuple
            else self._bare(row, form, place)
            for place, row in enumerate(value)
        ]
        return self._finish(rows, form, params)

    def decode_csv(self, body: bytes) -> Decoded:
        """The typed rows of a CSV body whose first line names the columns. Errors as in `decode_json`."""
        header, lines = read_table(body)
        layout = self._layout(header, "csv header")
        found: list[Row] = []
        for number, line in lines:
            if len(found) == self._decoder.max_rows:
                raise TooLarge(f"csv: at most {len(found)} rows in one request")
            found.append(layout.read(line, number))
        if not found:
            raise InvalidInput("csv: there are no rows below the header")
        params = self._params(None) if self._decoder.params is not None else None
        return self._finish(found, "csv", params)

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self._decoder.columns]

    def _bare(self, value: Any, form: str, place: int) -> Row:
        """The row of a model's only column that came without brackets, within the column's range."""
        try:
            return (msgspec.convert(value, annotation(self._decoder.columns[0])),)
        except msgspec.ValidationError as error:
            raise InvalidInput(explain(str(error), (), f"{form}[{place}]")) from None

    def _body(self) -> type[msgspec.Struct]:
        columns = self._decoder.columns
        row: Any = tuple.__class_getitem__(tuple(annotation(column) for column in columns))
        record: Any = dict.__class_getitem__((str, annotation(columns[0]))) if self._tensor else self._record
        item: Any = row if self._tensor else self._record | row
        if len(columns) == 1 and not self._tensor:
            # Its range is checked afterwards (`_bare`): msgspec mistakes a bound beside a tuple for its length.
            item |= annotation(columns[0], bounded=False)
        some = msgspec.Meta(min_length=1)
        rows: Any = Annotated[list.__class_getitem__(item), some]
        forms = (
            ("dataframe_split", _Split),
            ("dataframe_records", Annotated[list.__class_getitem__(record), some]),
            ("instances", rows),
            ("inputs", rows if self._tensor else self._table | rows),
        )
        parts: list[Any] = [(name, kind | msgspec.UnsetType, UNSET) for name, kind in forms]
        if self._decoder.params is not None:
            parts.append(("params", dict[str, Any] | None, None))
        return msgspec.defstruct("Body", parts)

    def _params(self, given: dict[str, Any] | None) -> str | None:
        assert self._decoder.params is not None
        try:
            return self._decoder.params.read(given, "params")
        except InvalidInput as error:
            raise SchemaViolation(str(error)) from None

    def _split(self, split: _Split, params: str | None) -> Decoded:
        where = "dataframe_split"
        if isinstance(split.columns, list):
            header = [str(name) for name in split.columns]
        elif self._tensor:
            header = self._names
        else:
            raise SchemaViolation(f"{where}.columns: missing; name the columns of 'data'")
        layout = self._layout(header, f"{where}.columns")
        try:
            rows = layout.decode(split.data)
        except msgspec.ValidationError as error:
            raise InvalidInput(explain(str(error), header, f"{where}.data")) from None
        except _BROKEN as error:
            raise InvalidInput(f"the body is not valid JSON: {error}") from None
        return self._finish(layout.arranged(rows), f"{where}.data", params)

    def _layout(self, header: Sequence[str], where: str) -> _Layout:
        """How rows with this header become the signature's; clients send the same one again and again."""
        key = tuple(header)
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) >= _LAYOUTS_KEPT:
                self._layouts.clear()
            known = self._layouts[key] = self._new_layout(key, where)
        return known

    def _new_layout(self, header: tuple[str, ...], where: str) -> _Layout:
        if self._tensor:  # a matrix: its columns count, their names do not
            if len(header) != len(self._columns):
                raise SchemaViolation(f"{where}: expected {len(self._columns)} columns, got {len(header)}")
            return _Layout(self._columns, dict(enumerate(range(len(header)))), self._defaults, len(header))
        places: dict[int, int] = {}
        for place, name in enumerate(header):
            index = self._positions.get(name)
            if index is not None and index in places:
                raise SchemaViolation(f"{where}: column '{name}' is given twice")
            if index is not None:
                places[index] = place
        absent = [
            column.name
            for index, column in enumerate(self._columns)
            if index not in places and index not in self._defaults
        ]
        if absent:
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            raise SchemaViolation(f"{where}: the model's columns {', '.join(absent[:5])}{more} are missing")
        return _Layout(self._columns, places, self._defaults, len(header))

    def _rows_of_columns(self, values: tuple[Any, ...]) -> list[Row]:
        """Rows out of one list for each column; a single value stands for each row, as in a DataFrame."""
        count, first = 1, ""
        for column, value in zip(self._columns, values, strict=True):
            if type(value) is list:
                if first and len(value) != count:
                    raise SchemaViolation(
                        f"inputs.{column.name}: {len(value)} values, but inputs.{first} has {count}"
                    )
                count, first = len(value), column.name
        if not count:
            raise InvalidInput(f"inputs.{first}: expected array of length >= 1")
        if count > self._decoder.max_rows:
            raise TooLarge(f"inputs: at most {self._decoder.max_rows} rows in one request, got {count}")
        whole = [value if type(value) is list else [value] * count for value in values]
        return list(zip(*whole, strict=True))

    def _tensor_records(self, records: list[dict[str, Any]]) -> list[Row]:
        names = list(records[0])
        if len(names) != len(self._columns):
            raise SchemaViolation(
                f"dataframe_records[0]: expected {len(self._columns)} columns, got {len(names)}"
            )
        for index, record in enumerate(records):
            if record.keys() != records[0].keys():
                odd = min(record.keys() ^ records[0].keys())
                raise SchemaViolation(
                    f"dataframe_records[{index}].{odd}: every record needs the same columns"
                )
        return [tuple(record[name] for name in names) for record in records]

    def _finish(self, rows: list[Row], where: str, params: str | None) -> Decoded:
        if len(rows) > self._decoder.max_rows:
            raise TooLarge(f"{where}: at most {self._decoder.max_rows} rows in one request, got {len(rows)}")
        return self._decoder.complete(rows, where, params)


def scoring_decoder(revision: LiveRevision) -> ScoringDecoder:
    """The decoder of a revision, for `LiveRevision.once`."""
    return ScoringDecoder(revision.decoder, tensor=revision.manifest.signature.layout == "tensor")


def first_value(body: bytes, *, csv: bool, name: str) -> str | None:
    """The value of a column in the first row, if it is there; for endpoints that are sticky by it.

    Raises:
        InvalidInput: the body is not readable at all.
    """
    if csv:
        header, lines = read_table(body)
        _, line = next(lines, (0, []))
        row = dict(zip(header, line, strict=False))
    else:
        try:
            row = _first_row(msgspec.json.decode(body))
        except _BROKEN as error:
            raise InvalidInput(f"the body is not valid JSON: {error}") from None
    value = row.get(name)
    return str(value) if value is not None else None


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    """A DataFrame as `to_dict("split")` writes it."""

    data: msgspec.Raw
    columns: list[str | int] | msgspec.UnsetType | None = UNSET
    index: Any = UNSET


class _Layout:
    """Rows whose columns stand in some order: read, and brought into the signature's."""

    def __init__(
        self, columns: Sequence[InputColumn], places: dict[int, int], defaults: dict[int, Any], width: int
    ) -> None:
        self._order = [(places.get(index, -1), defaults.get(index)) for index in range(len(columns))]
        self._same = [place for place, _ in self._order] == list(range(width))
        self._by_place: dict[int, InputColumn] = {
            place: columns[index] for index, place in places.items() if index < len(columns)
        }
        self._width = width
        self._columns = columns
        self._readers: list[tuple[int, Any, Callable[[str], Cell]]] | None = None
        self._decode: Callable[[msgspec.Raw], list[Row]] | None = None

    def decode(self, data: msgspec.Raw) -> list[Row]:
        """The rows of `data` as they are; raises msgspec's errors."""
        if self._decode is None:
            kinds = [
                annotation(self._by_place[place]) if place in self._by_place else Any
                for place in range(self._width)
            ]
            row: Any = tuple.__class_getitem__(tuple(kinds))
            self._decode = msgspec.json.Decoder(Annotated[list[row], msgspec.Meta(min_length=1)]).decode
        return self._decode(data)

    def arranged(self, rows: list[Row]) -> list[Row]:
        if self._same:
            return rows
        order = self._order
        return [tuple(row[place] if place >= 0 else default for place, default in order) for row in rows]

    def read(self, line: Sequence[str], number: int) -> Row:
        """A line of CSV as a typed row; raises InvalidInput naming the column."""
        if len(line) > self._width:
            raise InvalidInput(f"csv line {number}: {len(line)} values, but the header has {self._width}")
        if self._readers is None:
            self._readers = [
                (place, default, cell_reader(column))
                for (place, default), column in zip(self._order, self._columns, strict=True)
            ]
        try:
            return tuple(
                (read(line[place]) if place < len(line) else read("")) if place >= 0 else default
                for place, default, read in self._readers
            )
        except ValueError as error:
            raise InvalidInput(f"csv line {number}, {error}") from None


def _column_field(field: tuple[Any, ...]) -> tuple[Any, ...]:
    """The field of a record, as a column: a list of values, or one for all rows."""
    name, kind, *default = field
    bare: Any = kind
    if default and default[0] is UNSET:
        bare = _without_unset(kind)
    return (name, list[bare] | kind, *default)


def _without_unset(kind: Any) -> Any:
    rest = [part for part in kind.__args__ if part is not msgspec.UnsetType]
    whole = rest[0]
    for part in rest[1:]:
        whole = whole | part
    return whole


def _first_row(body: Any) -> dict[str, Any]:
    """The first row of whichever form the body has, by column name where it has names."""
    if not isinstance(body, dict):
        return {}
    value: Any = next((body[form] for form in FORMS if form in body), None)
    if isinstance(value, list):
        return value[0] if value and isinstance(value[0], dict) else {}
    if not isinstance(value, dict):
        return {}
    if "dataframe_split" in body:
        columns, data = value.get("columns"), value.get("data")
        if isinstance(columns, list) and isinstance(data, list) and data and isinstance(data[0], list):
            return dict(zip(map(str, columns), data[0], strict=False))
        return {}
    return {k: (v[0] if v else None) if isinstance(v, list) else v for k, v in value.items()}
