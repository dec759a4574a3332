"""Schemas: inferred, stored, edited, enforced."""

import json
import math
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_platform.integrations.delta import ColumnSchema, SchemaDocumentError, TableSchema, Violation
from ml_platform.integrations.delta.profile import profile
from ml_platform.integrations.delta.schema import infer_schema, validate

REFERENCE = pl.DataFrame(
    {
        "plan": ["a", "b"] * 10,
        "age": list(range(20)),
        "fee": [i / 2 for i in range(20)],
        "at": [datetime(2024, 1, 1 + i, tzinfo=UTC) for i in range(20)],
    }
)
SCHEMA = infer_schema(REFERENCE)


class TestInfer:
    def test_categories_get_their_values_and_numbers_their_range(self):
        columns = {c.name: c for c in SCHEMA.columns}
        assert columns["plan"] == ColumnSchema(name="plan", type="string", allowed=("a", "b"))
        assert columns["age"] == ColumnSchema(name="age", type="long", minimum=0, maximum=19)

    def test_a_table_keeps_to_its_own_schema(self):
        assert validate(REFERENCE, SCHEMA) == []

    @settings(max_examples=20, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.none() | st.floats(),
                st.none() | st.integers(-(2**63), 2**63 - 1),
                st.none() | st.text(max_size=5),
            ),
            min_size=1,
            max_size=30,
        )
    )
    def test_any_table_keeps_to_its_own_schema_and_profiles_as_strict_json(self, rows):
        frame = pl.DataFrame(rows, schema={"f": pl.Float64, "i": pl.Int64, "s": pl.String}, orient="row")
        schema = infer_schema(frame)
        assert TableSchema.from_json(schema.to_json()) == schema == TableSchema.from_yaml(schema.to_yaml())
        assert [v for v in validate(frame, schema) if not any(map(_is_infinite, frame["f"]))] == []
        json.dumps(profile(frame), allow_nan=False)


def _is_infinite(value):
    return value is not None and not math.isfinite(value)


class TestValidate:
    def found(self, frame, schema=SCHEMA):
        return {(v.column, v.check): v for v in validate(frame, schema)}

    def test_values_outside_are_counted_with_examples(self):
        found = self.found(REFERENCE.with_columns(age=pl.col("age") + 10, plan=pl.lit("z")))
        assert found["age", "maximum"].count == 10
        assert found["plan", "allowed"] == Violation("plan", "allowed", 20, ("z",))

    def test_examples_are_few_and_short(self):
        many = REFERENCE.with_columns(plan=pl.format("{}" + "x" * 500, pl.int_range(pl.len())))
        violation = self.found(many)["plan", "allowed"]
        assert len(violation.examples) == 5
        assert max(map(len, violation.examples)) == 100

    def test_nulls_missing_and_unknown_columns_are_named(self):
        frame = REFERENCE.drop("age").with_columns(plan=pl.lit(None, dtype=pl.String), more=pl.lit(1))
        found = self.found(frame)
        assert found["plan", "nullable"].count == 20
        assert set(found) == {("plan", "nullable"), ("age", "missing_column"), ("more", "unknown_column")}

    def test_another_type_is_one_violation_and_its_checks_are_not_made(self):
        found = self.found(REFERENCE.with_columns(age=pl.col("age").cast(pl.String)))
        assert set(found) == {("age", "type")}

    def test_whole_numbers_pass_for_doubles(self):
        assert validate(REFERENCE.with_columns(fee=pl.lit(3)), SCHEMA) == []

    def test_an_edited_schema_is_enforced(self):
        text = SCHEMA.to_yaml().replace("maximum: 19", "maximum: 5")
        assert self.found(REFERENCE, TableSchema.from_yaml(text))["age", "maximum"].count == 14


class TestDocuments:
    @pytest.mark.parametrize(
        "text",
        [
            "", "[]", "{", "columns: []", "columns: [{name: a, type: nope}]", "columns: [{name: a, type: long, odd: 1}]",
            "columns: [{name: a, type: long}, {name: a, type: long}]", "columns: [{name: a, type: long, minimum: x}]",
            "columns: [{name: a, type: datetime, minimum: never}]", "columns: [{name: a, type: boolean, allowed: [x]}]",
            "a: &a [1]\nb: *a", "!!python/object/apply:os.system ['true']", "columns: [{name: a, type: double, maximum: .nan}]",
        ],
    )  # fmt: skip
    def test_nonsense_is_refused(self, text):
        with pytest.raises(SchemaDocumentError):
            TableSchema.from_yaml(text)


class TestProfile:
    def test_a_histogram_counts_every_finite_value(self):
        frame = pl.DataFrame({"x": [0.0, 1.0, 2.0, 10.0, None, math.nan, math.inf]})
        column = profile(frame)["columns"]["x"]
        assert sum(column["histogram"]["counts"]) == 4
        assert (column["nulls"], column["non_finite"], column["min"], column["max"]) == (1, 2, 0.0, 10.0)
        assert column["quantiles"]["0.5"] == 1.5
