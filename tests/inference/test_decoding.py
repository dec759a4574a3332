"""Decoding by signature, by itself: what is accepted is typed, what is refused is named."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.contracts.bundles import EntityKey, FeatureRequest
from ml_platform.inference.decoding import UNSET, InputColumn, InputDecoder
from ml_platform.inference.errors import InvalidInput, TooLarge
from ml_platform.inference.protocols.scoring_input import ScoringDecoder

COLUMNS = (
    InputColumn("first name", "string"),
    InputColumn("größe", "double", nullable=True),
    InputColumn("class", "long"),
)
BARE = pytest.mark.parametrize(
    ("kind", "value", "beyond"),
    [("long", 2**63 - 1, 2**63), ("integer", -(2**31), 2**31), ("float", 0.5, 1e39), ("double", 0.5, "x")],
)

DECODER = InputDecoder(COLUMNS, None, max_rows=10)
ROWS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"])),  # a lone surrogate is no text
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.integers(min_value=-(2**63), max_value=2**63 - 1),
    ),
    min_size=1,
    max_size=10,
)


def body(instances: object) -> bytes:
    return json.dumps({"instances": instances}).encode()


class TestDecode:
    @given(rows=ROWS, shuffled=st.permutations(range(3)))
    def test_gives_the_same_rows_for_objects_and_for_lists(self, rows, shuffled):
        names = [column.name for column in COLUMNS]
        objects = [{names[i]: row[i] for i in shuffled} for row in rows]
        assert DECODER.decode(body([list(row) for row in rows])).rows == rows
        assert DECODER.decode(body(objects)).rows == rows

    def test_takes_whole_numbers_for_floats(self):
        assert DECODER.decode(body([["a", 3, 4]])).rows == [("a", 3.0, 4)]

    def test_gives_null_for_an_absent_optional_column(self):
        assert DECODER.decode(body([{"first name": "a", "class": 4}])).rows == [("a", None, 4)]

    def test_takes_the_last_of_a_doubled_field(self):
        text = b'{"instances":[{"first name":"a","class":1,"class":2}]}'
        assert DECODER.decode(text).rows == [("a", None, 2)]

    def test_names_columns_as_the_signature_does(self):
        with pytest.raises(InvalidInput, match=r"^instances\[0\]\.größe: expected float \| null, got str$"):
            DECODER.decode(body([["a", "b", 4]]))
        with pytest.raises(InvalidInput, match=r"^instances\[1\]\.first name: missing$"):
            DECODER.decode(body([["a", 1, 4], {}]))

    def test_bounds_the_rows(self):
        DECODER.decode(body([["a", 1, 4]] * 10))
        with pytest.raises(TooLarge):
            DECODER.decode(body([["a", 1, 4]] * 11))

    def test_copes_with_a_thousand_columns(self):
        decoder = InputDecoder([InputColumn(str(i), "double") for i in range(1000)], None, 10)
        assert decoder.decode(body([list(range(1000))])).rows[0][999] == 999.0


class TestDecodeWithFeatures:
    request_ = FeatureRequest(
        entities=(EntityKey(name="customer", type="long"),), columns={"größe": "v:g", "class": "v:c"}
    )
    decoder = InputDecoder(COLUMNS, request_, 10)

    def test_leaves_what_must_be_looked_up_unset(self):
        decoded = self.decoder.decode(body([{"customer": 5, "first name": "a"}]))
        assert decoded.rows == [("a", UNSET, UNSET)]
        assert decoded.keys == [{"customer": 5}]

    def test_needs_no_key_for_a_whole_row(self):
        decoded = self.decoder.decode(body([["a", 1, 4], {"first name": "b", "größe": None, "class": 1}]))
        assert decoded.rows == [("a", 1.0, 4), ("b", None, 1)]
        assert decoded.keys == [None, None]

    def test_takes_a_key_that_is_a_column_as_both(self):
        request = FeatureRequest(entities=(EntityKey(name="class", type="long"),), columns={"größe": "v:g"})
        decoded = InputDecoder(COLUMNS, request, 10).decode(body([{"first name": "a", "class": 7}]))
        assert decoded.rows == [("a", UNSET, 7)]
        assert decoded.keys == [{"class": 7}]

    def test_names_the_key_that_is_missing(self):
        with pytest.raises(InvalidInput, match=r"instances\[0\]\.customer: missing"):
            self.decoder.decode(body([{"first name": "a"}]))


class TestOnlyColumn:
    """MLflow's scoring takes its values with and without brackets."""

    @BARE
    @pytest.mark.parametrize("nullable", [False, True])
    def test_with_a_range_is_read_and_refused_in_every_form(self, kind, value, beyond, nullable):
        decoder = ScoringDecoder(InputDecoder([InputColumn("x", kind, nullable)], None, 10), tensor=False)
        for form in ("instances", "inputs"):
            for body in ([value], [[value]], [{"x": value}]):
                assert decoder.decode_json(msgspec.json.encode({form: body})).rows == [(value,)]
            for body in ([beyond], [[beyond]], [{"x": beyond}], [[]], [[value, value]]):
                with pytest.raises(InvalidInput, match=rf"^{form}\[0\]"):
                    decoder.decode_json(json.dumps({form: body}).encode())
