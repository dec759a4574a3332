"""Rows that are pushed: as JSON has them, checked, and read back by Feast's own client from either store."""

from datetime import UTC, datetime

import polars as pl
import pytest

from ml_platform.integrations.feast import EntitySpec, FieldSpec
from ml_platform.integrations.feast.errors import FeatureSourceError

NOW = "2026-03-01T12:30:15Z"
COLUMNS = {
    "whole": ("INT64", [1, None]),
    "small": ("INT32", [-(2**31), None]),
    "ratio": ("DOUBLE", [2, 0.5]),
    "narrow": ("FLOAT", [0.5, None]),
    "flag": ("BOOL", [True, None]),
    "raw": ("BYTES", ["AP8=", None]),
    "moment": ("UNIX_TIMESTAMP", [NOW, 1_772_368_215]),
    "numbers": ("INT64_LIST", [[1, 2], None]),
    "words": ("STRING_LIST", [["a", "zwölf"], ["c"]]),
    "flags": ("BOOL_LIST", [[True, False], None]),
}
MOMENT = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
READ = {
    "whole": [1, None],
    "small": [-(2**31), None],
    "ratio": [2.0, 0.5],
    "narrow": [0.5, None],
    "flag": [True, None],
    "raw": [b"\x00\xff", None],
    "moment": [MOMENT, MOMENT],
    "numbers": [[1, 2], None],
    "words": [["a", "zwölf"], ["c"]],
    "flags": [[True, False], None],
}


@pytest.fixture
def view(make_view, history):
    frame = history.with_columns(
        number=pl.lit(7),
        **{name: pl.lit(None) for name in COLUMNS},
    )
    return make_view(
        frame,
        entities=(EntitySpec("customer_id"), EntitySpec("number", "INT32")),
        fields=tuple(FieldSpec(name, kind) for name, (kind, _) in COLUMNS.items()),
    )


def rows(**changes):
    given = {name: values for name, (_, values) in COLUMNS.items()}
    keys = {"customer_id": ["a", "b"], "number": [7, 8], "event_timestamp": [NOW, NOW]}
    return {**given, **keys, **changes}


class TestPush:
    def test_feasts_client_reads_every_type_that_can_be_pushed(self, repository, view):
        repository.apply([view])
        assert repository.push(view, rows()) == 2
        keys = [{"customer_id": "a", "number": 7}, {"customer_id": "b", "number": 8}]
        found = repository.get_online_features(keys, [f"churn:{name}" for name in COLUMNS])
        assert {name: found[name] for name in COLUMNS} == READ

    @pytest.mark.parametrize(
        ("column", "value", "words"),
        [
            ("small", 2**31, "32 bits"),
            ("number", -(2**31) - 1, "32 bits"),
            ("narrow", 3.5e38, "32 bits"),
            ("ratio", float("nan"), "NaN"),
            ("ratio", float("inf"), "infinite"),
            ("ratio", 10**400, "64 bits"),
            ("ratio", True, "number"),
            ("flag", 1, "true or false"),
            ("raw", "no base64!", "base64"),
            ("moment", "2300-01-01", "1970 to 2199"),
            ("moment", 10**18, "ISO 8601"),
            ("numbers", 1, "list"),
            ("numbers", [1, None], "whole number"),
            ("words", [1], "text"),
        ],
    )
    def test_what_does_not_fit_is_named_and_nothing_is_written(self, repository, view, column, value, words):
        repository.apply([view])
        wrong = rows()
        wrong[column] = [wrong[column][0], value]
        with pytest.raises(FeatureSourceError, match=words) as caught:
            repository.push(view, wrong)
        assert caught.value.fields[0].field == column
        keys = [{"customer_id": "a", "number": 7}]
        assert repository.get_online_features(keys, ["churn:whole"])["whole"] == [None]

    def test_a_type_that_json_cannot_carry_is_refused(self, repository, make_view):
        view = make_view(fields=(FieldSpec("charges", "MAP"),))
        given = {"customer_id": ["a"], "event_timestamp": [NOW], "charges": [{"a": 1}]}
        with pytest.raises(FeatureSourceError, match="MAP cannot be pushed"):
            repository.push(view, given)
