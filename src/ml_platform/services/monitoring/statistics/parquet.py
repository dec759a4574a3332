"""Reading Parquet by DuckDB, within bounds: two threads, a memory limit, nothing but the given files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

_NUMERIC = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "FLOAT", "DOUBLE",
}  # fmt: skip
_CATEGORICAL = {"BOOLEAN", "VARCHAR"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of wider files is looked at.

    `columns` maps the name under which a column is known to its name in the files; one that no file has is
    left out. `equal` and `between` (start included, end not) keep the rows whose columns have these values.
    """

    columns: Mapping[str, str]
    equal: Mapping[str, str | int] = field(default_factory=dict)
    between: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)


def is_numeric(duckdb_type: str) -> bool:
    return duckdb_type in _NUMERIC or duckdb_type.startswith("DECIMAL")


def is_categorical(duckdb_type: str) -> bool:
    return duckdb_type in _CATEGORICAL or duckdb_type.startswith("ENUM")


def quoted(name: str) -> str:
    """A column's name as SQL takes it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def opened(
    paths: Sequence[str | Path], *, threads: int, memory: str, selection: Selection | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the files, or a selection of them, as the view `data`.

    Columns are matched by name, lacking ones are null.

    Raises:
        ValueError: there is no path.
        duckdb.Error: a file is missing or is no Parquet.
    """
    if not paths:
        raise ValueError("no Parquet file was given")
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory,
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=config) as connection:
        connection.execute("SET autoinstall_known_extensions = false")
        files = ", ".join(literal(str(path)) for path in paths)
        source = f"read_parquet([{files}], union_by_name = true)"
        if selection is None:
            connection.execute(f"CREATE VIEW data AS FROM {source}")
        else:
            connection.execute(f"CREATE VIEW files AS FROM {source}")
            connection.execute(
                f"CREATE VIEW data AS {_selecting(selection, column_types(connection, 'files'))}"
            )
        yield connection


def column_types(connection: duckdb.DuckDBPyConnection, view: str = "data") -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE {view}").fetchall()
    return {str(row[0]): str(row[1]) for row in rows}


def _selecting(selection: Selection, types: Mapping[str, str]) -> str:
    columns = [f"{quoted(o)} AS {quoted(n)}" for n, o in selection.columns.items() if o in types]
    conditions = [
        f"{quoted(name)} = {literal(value) if isinstance(value, str) else value}"
        for name, value in selection.equal.items()
    ]
    for name, (start, end) in selection.between.items():
        first, last = (f"TIMESTAMPTZ {literal(moment.isoformat())}" for moment in (start, end))
        conditions.append(f"{quoted(name)} >= {first} AND {quoted(name)} < {last}")
    # Without a column there are still rows to be counted.
    chosen = ", ".join(columns) or "NULL AS nothing"
    return f"SELECT {chosen} FROM files WHERE {' AND '.join(conditions) or 'true'}"  # noqa: S608 - all quoted


def literal(text: str) -> str:
    """A text as SQL takes it, whatever characters it has."""
    return "'" + text.replace("'", "''") + "'"
