"""Tensors in every form end in the rows that V1 makes of the same values; predictions in tensors that fit them."""

import json
import math
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_platform.contracts.bundles import BundleManifest, Column, Signature
from ml_platform.inference.decoding import InputColumn, InputDecoder
from ml_platform.inference.errors import InvalidInput
from ml_platform.inference.protocols.v2.body import decode_request
from ml_platform.inference.protocols.v2.grpc_requests import _TypedTensor
from ml_platform.inference.protocols.v2.inputs import InputReader, RawTensor
from ml_platform.inference.protocols.v2.outputs import OutputWriter
from tests.inference.support.grpc_caller import typed
from tests.inference.support.tensors import KINDS, raw, tensor

COLUMNS = (
    InputColumn("flag", "boolean"),
    InputColumn("small", "integer"),
    InputColumn("big", "long"),
    InputColumn("ratio", "float", narrow=True),
    InputColumn("amount", "double"),
    InputColumn("label", "string"),
)
VALUES = {
    "flag": st.booleans(),
    "small": st.integers(-(2**31), 2**31 - 1),
    "big": st.integers(-(2**63), 2**63 - 1),
    "ratio": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "amount": st.floats(allow_nan=False, allow_infinity=False),
    "label": st.text(max_size=8),
}


def revision(*columns: InputColumn, **manifest) -> SimpleNamespace:
    """What a reader and a writer look at of a revision."""
    described = BundleManifest(
        **{
            "runtime": "pyfunc",
            "signature": Signature(inputs=tuple(Column(name=c.name, type=c.type) for c in columns)),
            "task": "other",
            "files": {},
        }
        | manifest
    )
    return SimpleNamespace(manifest=described, decoder=InputDecoder(columns or COLUMNS, None, 100))


class TestInputs:
    @settings(deadline=None)
    @given(rows=st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=4), pillar=st.booleans())
    def test_of_every_form_are_the_rows_of_v1(self, rows, pillar):
        shown = revision(*COLUMNS)
        expected = shown.decoder.decode(json.dumps({"instances": rows}).encode()).rows
        shape = [len(rows), 1] if pillar else [len(rows)]
        inputs = [tensor(c.name, KINDS[c.type][0], [r[c.name] for r in rows], shape) for c in COLUMNS]
        reader = InputReader(shown)
        in_json = decode_request(json.dumps({"inputs": inputs}).encode(), {}).inputs
        in_raw = [
            RawTensor(each["name"], each["datatype"], shape, raw(each["datatype"], each["data"]))
            for each in inputs
        ]
        in_message = [_TypedTensor(message) for message in typed(inputs).inputs]
        for tensors in (in_json, in_raw, in_message, in_json[::-1]):
            assert reader.read(tensors).rows == expected

    @settings(deadline=None)
    @given(value=st.floats() | st.integers(-(2**70), 2**70))
    def test_of_any_number_are_refused_just_where_v1_does(self, value):
        """But for NaN and the infinities, which JSON cannot say: raw tensors can, and are refused."""
        column = InputColumn("x", "double", narrow=True)
        shown = revision(column)
        given_raw = RawTensor("x", "FP64", [1], raw("FP64", [float(value)]))

        def ends(read) -> object:
            try:
                return read().rows
            except InvalidInput:
                return "refused"

        in_raw = ends(lambda: InputReader(shown).read([given_raw]))
        if not math.isfinite(value):
            assert in_raw == "refused"
            return
        body = json.dumps({"instances": [[value]]}).encode()
        inputs = json.dumps({"inputs": [tensor("x", "FP64", [value])]}).encode()
        in_json = ends(lambda: InputReader(shown).read(decode_request(inputs, {}).inputs))
        assert in_raw == in_json == ends(lambda: shown.decoder.decode(body))

    def test_of_a_date_are_text(self):
        reader = InputReader(revision(InputColumn("when", "datetime")))
        found = reader.read([RawTensor("when", "BYTES", [1], raw("BYTES", ["2024-02-29T12:00:00Z"]))])
        assert found.rows == [(datetime(2024, 2, 29, 12, tzinfo=UTC),)]
        with pytest.raises(InvalidInput, match=r"inputs.when.data\[0\]: expected a date and time"):
            reader.read([RawTensor("when", "BYTES", [1], raw("BYTES", ["yesterday"]))])

    def test_of_sums_beyond_a_float_are_still_read(self):
        reader = InputReader(revision(InputColumn("x", "double")))
        found = reader.read([RawTensor("x", "FP64", [2], raw("FP64", [1.7e308, 1.7e308]))])
        assert found.rows == [(1.7e308,), (1.7e308,)]


class TestOutputs:
    @pytest.mark.parametrize(
        ("predictions", "datatype", "shape", "values"),
        [
            ([True, False], "BOOL", [2], [True, False]),
            ([1, 2], "INT64", [2], [1, 2]),
            ([1, 2.5], "FP64", [2], [1, 2.5]),
            ([1.0, None], "FP64", [2], [1.0, None]),
            ([2**63], "FP64", [1], [2**63]),
            ([2**64 + 1], "BYTES", [1], ["18446744073709551617"]),
            (["a", "b"], "BYTES", [2], ["a", "b"]),
            (["a", None], "BYTES", [2], ['"a"', "null"]),
            ([True, 1], "BYTES", [2], ["true", "1"]),
            ([[1, 2], [3, 4]], "INT64", [2, 2], [1, 2, 3, 4]),
            ([[[1.0]], [[2.0]]], "FP64", [2, 1, 1], [1.0, 2.0]),
            ([[1], [2, 3]], "BYTES", [2], ["[1]", "[2,3]"]),
            ([{"a": 1}, {"b": 2}], "BYTES", [2], ['{"a":1}', '{"b":2}']),
            ([None], "FP64", [1], [None]),
            ([[]], "BYTES", [1, 0], []),
        ],
    )
    def test_that_nobody_declared_are_typed_by_their_values(self, predictions, datatype, shape, values):
        (output,) = OutputWriter(revision(*COLUMNS)).write(predictions)
        assert (output.name, output.datatype.name, output.shape) == ("predictions", datatype, shape)
        assert output.values == values
        assert isinstance(output.raw(), bytes)

    def test_that_are_objects_become_a_tensor_for_each_field(self):
        writer = OutputWriter(revision(*COLUMNS))
        predictions = [{"score": 0.5, "label": "a"}, {"score": 1, "label": "b"}]
        found = {o.name: (o.datatype.name, o.values) for o in writer.write(predictions)}
        assert found == {"score": ("FP64", [0.5, 1]), "label": ("BYTES", ["a", "b"])}
        assert [o.name for o in writer.write(predictions, ["label"])] == ["label"]
        with pytest.raises(InvalidInput, match=r"outputs.no: .* it has score, label"):
            writer.write(predictions, ["no"])

    def test_that_are_no_number_are_nan_in_raw_form(self):
        (output,) = OutputWriter(revision(*COLUMNS)).write([1.0, None])
        assert output.raw() == raw("FP64", [1.0, float("nan")])

    def test_are_probabilities_whatever_type_the_label_has(self):
        signature = Signature(
            inputs=(Column(name="x", type="double"),), outputs=(Column(name="churn", type="string"),)
        )
        writer = OutputWriter(
            revision(
                *COLUMNS, signature=signature, output="probability", task="classification", classes=("n", "y")
            )
        )
        assert writer.metadata() == [("churn", "FP64", [-1])]
        assert [(o.name, o.datatype.name) for o in writer.write([0.25])] == [("churn", "FP64")]
