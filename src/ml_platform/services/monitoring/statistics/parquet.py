"""Reading Parquet by DuckDB, within bounds: two threads, a memory limit, nothing but the given files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

_NUMERIC = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "FLOAT", "DOUBLE",
}  # fmt: skip
_CATEGORICAL = {"BOOLEAN", "VARCHAR"}


def is_numeric(duckdb_type: str) -> bool:
    return duckdb_type in _NUMERIC or duckdb_type.startswith("DECIMAL")


def is_categorical(duckdb_type: str) -> bool:
    return duckdb_type in _CATEGORICAL or duckdb_type.startswith("ENUM")


def quoted(name: str) -> str:
    """A column's name as SQL takes it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def opened(paths: Sequence[str | Path], *, threads: int, memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the files as the view `data`. Columns are matched by name, lacking ones are null.

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
        files = ", ".join(_literal(str(path)) for path in paths)
        connection.execute(f"CREATE VIEW data AS FROM read_parquet([{files}], union_by_name = true)")
        yield connection


def column_types(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    rows = connection.execute("DESCRIBE data").fetchall()
    return {str(row[0]): str(row[1]) for row in rows}


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
