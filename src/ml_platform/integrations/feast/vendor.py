"""The one place that imports Feast, at first use: it costs seconds, which no other part should pay."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from ml_platform.integrations.feast.encoding import Encoded
from ml_platform.integrations.feast.errors import FeatureDefinitionError, FeatureSourceError
from ml_platform.integrations.feast.specs import EntitySpec, FeatureViewSpec, FieldSpec, SourceSpec
from ml_platform.kit.errors import UnavailableError

_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_importing = threading.Lock()


@cache
def load() -> Any:
    """Feast, imported once, with its usage reports off."""
    with _importing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["FEAST_USAGE"] = "False"
        os.environ["FEAST_TELEMETRY"] = "False"
        before = os.environ.get(_METRICS_VARIABLE)
        import feast
        import feast.data_format
        import feast.errors
        import feast.infra.offline_stores.file_source
        import feast.repo_config
        import feast.type_map
        import feast.types
        import feast.value_type

        if before is None:  # Feast sets it for all of the process, our own metrics included
            os.environ.pop(_METRICS_VARIABLE, None)
        return feast


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast prints what it does; a service's standard output is not the place."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_store(folder: Path, project: str, online: Mapping[str, Any]) -> Any:
    """The `feast.FeatureStore` of a repository whose `feature_store.yaml` stands in `folder`.

    `online` takes the place of its `online_store`: the file on the disk holds no secrets.
    """
    feast = load()
    with quiet():
        config = feast.repo_config.load_repo_config(folder, folder / "feature_store.yaml")
        config.online_config = dict(online)
        store = feast.FeatureStore(repo_path=str(folder), config=config)
    if store.project != project:
        raise FeatureDefinitionError(f"the feature repository belongs to the project {store.project!r}")
    return store


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """What the client for Redis raises, as what it means; its texts name the server and no password."""
    try:
        yield
    except Exception as error:
        client = sys.modules.get("redis.exceptions")  # Feast imports it for Redis alone
        if client is None or not isinstance(error, client.RedisError):
            raise
        raise UnavailableError(f"the online store cannot be read: {type(error).__name__}: {error}") from error


def definitions_of(spec: FeatureViewSpec) -> tuple[list[Any], Any]:
    """The entities and the feature view as Feast's own objects."""
    feast = load()
    entities = [
        feast.Entity(name=e.name, join_keys=[e.name], value_type=feast.value_type.ValueType[e.type])
        for e in spec.entities
    ]
    delta = spec.source.format == "delta"
    file_format = feast.data_format.DeltaFormat() if delta else feast.data_format.ParquetFormat()
    source = feast.infra.offline_stores.file_source.FileSource(
        name=f"{spec.name}_source",
        path=spec.source.path,
        file_format=file_format,
        timestamp_field=spec.source.timestamp_field,
        created_timestamp_column=spec.source.created_timestamp_field or "",
    )
    schema = [feast.Field(name=e.name, dtype=feast_type(e.type)) for e in spec.entities]
    schema += [feast.Field(name=f.name, dtype=feast_type(f.type)) for f in spec.fields]
    view = feast.FeatureView(
        name=spec.name,
        entities=entities,
        ttl=spec.ttl or timedelta(0),
        schema=schema,
        source=source,
        online=spec.online,
        description=spec.description,
        tags=dict(spec.tags),
    )
    return entities, view


def spec_of(view: Any) -> FeatureViewSpec:
    """A registered feature view as plain data."""
    feast = load()
    source = view.batch_source
    delta = isinstance(source.file_format, feast.data_format.DeltaFormat)
    return FeatureViewSpec(
        name=view.name,
        entities=tuple(EntitySpec(c.name, c.dtype.to_value_type().name) for c in view.entity_columns),
        source=SourceSpec(
            path=source.path,
            timestamp_field=source.timestamp_field,
            format="delta" if delta else "parquet",
            created_timestamp_field=source.created_timestamp_column or None,
        ),
        fields=tuple(FieldSpec(f.name, f.dtype.to_value_type().name) for f in view.features),
        ttl=view.ttl or None,
        online=view.online,
        description=view.description,
        tags=dict(view.tags),
    )


def feast_type(name: str) -> Any:
    """Feast's type object for one of its value type names."""
    feast = load()
    try:
        return feast.types.from_value_type(feast.value_type.ValueType[name])
    except (KeyError, ValueError) as error:
        raise FeatureDefinitionError.of("type", f"the feature store has no type {name!r}") from error


def convert_column(field: FieldSpec, column: pl.Series) -> Encoded:
    """A column of any type as Feast itself converts it, one value after the other."""
    feast = load()
    from feast.infra.online_stores.helpers import extract_text_and_num

    kind = feast.value_type.ValueType[field.type]
    try:
        plain = column.to_arrow().to_numpy(zero_copy_only=False)
        protos = feast.type_map.python_values_to_proto_values(plain, kind)
    except Exception as error:  # Feast asserts and raises bare exceptions about a value's type
        raise FeatureSourceError.of(
            field.name, f"the column {column.dtype} does not fit the declared type {field.type}: {error}"
        ) from error
    values = [proto.SerializeToString() for proto in protos]
    return Encoded(values, [extract_text_and_num(proto, False)[0] for proto in protos])
