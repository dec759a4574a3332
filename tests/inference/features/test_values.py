"""Decoding against Feast's own conversion, for every kind of value."""

import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from feast.protos.feast.types import Value_pb2 as pb
from feast.type_map import feast_value_type_to_python_type
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_platform.inference.features.values import Memo, decode, decode_column

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
SECONDS = st.integers(-(10**9), 4 * 10**9) | st.just(-(2**63))
UUIDS, DECIMALS = st.uuids().map(str), st.decimals(allow_nan=False).map(str)
ZONES = st.sampled_from(["", "UTC", "Europe/Berlin", "UTC-07:00", "+05:30", "+0530", "nowhere"])
JSON = st.sampled_from(["{}", '{"a":[1,null]}', "1", '"x"', "not json", "[]", ""])

SCALARS = {
    "bytes_val": st.binary(max_size=300), "string_val": st.text(max_size=300), "int32_val": INT32, "int64_val": INT64,
    "double_val": st.floats(), "float_val": st.floats(width=32), "bool_val": st.booleans(),
    "unix_timestamp_val": SECONDS, "json_val": JSON, "uuid_val": UUIDS, "time_uuid_val": UUIDS,
    "decimal_val": DECIMALS, "null_val": st.just(0),
}  # fmt: skip
ITEMS = {
    "bytes": (pb.BytesList, pb.BytesSet, st.binary(max_size=9)), "string": (pb.StringList, pb.StringSet, st.text(max_size=9)),
    "int32": (pb.Int32List, pb.Int32Set, INT32), "int64": (pb.Int64List, pb.Int64Set, INT64),
    "double": (pb.DoubleList, pb.DoubleSet, st.floats(allow_nan=False)),
    "float": (pb.FloatList, pb.FloatSet, st.floats(width=32, allow_nan=False)),
    "bool": (pb.BoolList, pb.BoolSet, st.booleans()), "unix_timestamp": (pb.Int64List, pb.Int64Set, SECONDS),
    "uuid": (pb.StringList, pb.StringSet, UUIDS), "time_uuid": (pb.StringList, pb.StringSet, UUIDS),
    "decimal": (pb.StringList, pb.StringSet, DECIMALS),
}  # fmt: skip


def lists_of(name):
    of_list, of_set, item = ITEMS[name]
    items = st.lists(item, max_size=40)
    return st.builds(lambda v: pb.Value(**{f"{name}_list_val": of_list(val=v)}), items) | st.builds(
        lambda v: pb.Value(**{f"{name}_set_val": of_set(val=v)}), items
    )


simple = st.one_of(
    st.just(pb.Value()),
    *[st.builds(lambda v, n=name: pb.Value(**{n: v}), strategy) for name, strategy in SCALARS.items()],
    *[lists_of(name) for name in ITEMS],
    st.builds(lambda v: pb.Value(json_list_val=pb.StringList(val=v)), st.lists(JSON, max_size=4)),
    st.builds(
        lambda t, z: pb.Value(zoned_timestamp_val=pb.ZonedTimestamp(unix_timestamp=t, zone=z)), SECONDS, ZONES
    ),
)
KEYS = st.one_of(
    st.builds(lambda v: pb.MapKey(int64_key=v), INT64), st.builds(lambda v: pb.MapKey(bool_key=v), st.booleans()),
    st.builds(lambda v: pb.MapKey(uuid_key=v), UUIDS), st.builds(lambda v: pb.MapKey(decimal_key=v), DECIMALS),
    st.builds(lambda v: pb.MapKey(bytes_key=v), st.binary(max_size=4)), st.just(pb.MapKey()),
    st.builds(lambda v: pb.MapKey(unix_timestamp_key=v), SECONDS), st.builds(lambda v: pb.MapKey(int32_key=v), INT32),
)  # fmt: skip


def nested(inner):
    maps = st.builds(lambda v: pb.Map(val=v), st.dictionaries(st.text(max_size=4), inner, max_size=3))
    entries = st.lists(st.builds(lambda k, v: pb.ScalarMapEntry(key=k, value=v), KEYS, inner), max_size=3)
    return st.one_of(
        st.builds(lambda v: pb.Value(map_val=v), maps),
        st.builds(lambda v: pb.Value(struct_val=v), maps),
        st.builds(lambda v: pb.Value(map_list_val=pb.MapList(val=v)), st.lists(maps, max_size=2)),
        st.builds(lambda v: pb.Value(struct_list_val=pb.MapList(val=v)), st.lists(maps, max_size=2)),
        st.builds(lambda v: pb.Value(list_val=pb.RepeatedValue(val=v)), st.lists(inner, max_size=3)),
        st.builds(lambda v: pb.Value(set_val=pb.RepeatedValue(val=v)), st.lists(inner, max_size=3)),
        st.builds(lambda v: pb.Value(scalar_map_val=pb.ScalarMap(val=v)), entries),
    )


values = st.recursive(simple, nested, max_leaves=6)


def comparable(value):
    """With types beside values, NaN equal to NaN, and maps in no order, as protobuf has them."""
    if isinstance(value, dict):
        items = [(comparable(key), comparable(item)) for key, item in value.items()]
        return "dict", sorted(items, key=repr)
    if isinstance(value, list):
        return "list", [comparable(item) for item in value]
    if isinstance(value, set):
        return "set", sorted((comparable(item) for item in value), key=repr)
    return type(value).__name__, repr(value)


class TestDecode:
    @settings(max_examples=1500, deadline=None)
    @given(values)
    def test_every_value_is_the_one_that_feast_gives(self, proto):
        got, want = decode(proto.SerializeToString()), feast_value_type_to_python_type(proto)
        assert comparable(got) == comparable(want)

    def test_each_kind_has_its_own_python_type(self):
        uid = "12345678-1234-5678-1234-567812345678"
        assert decode(pb.Value(uuid_val=uid).SerializeToString()) == UUID(uid)
        assert decode(pb.Value(decimal_val="1.50").SerializeToString()) == Decimal("1.50")
        assert decode(pb.Value(unix_timestamp_val=0).SerializeToString()) == datetime(1970, 1, 1, tzinfo=UTC)
        assert decode(pb.Value(bool_val=False).SerializeToString()) is False

    def test_unpacked_lists_are_read_too(self):
        assert decode(b"\x72\x04\x08\x01\x08\x02") == [1, 2]

    @settings(max_examples=2000, deadline=None)
    @given(
        st.binary(max_size=60)
        | st.builds(
            lambda v, i, b: _spoil(v.SerializeToString(), i, b),
            values,
            st.integers(0, 99),
            st.integers(0, 255),
        )
    )
    def test_damaged_bytes_are_a_value_or_a_value_error(self, raw):
        with contextlib.suppress(ValueError):
            decode(raw)

    def test_deep_nesting_is_refused_not_a_crash(self):
        raw = b"\x20\x01"
        for _ in range(90):
            raw = _framed(b"\xd2\x02", _framed(b"\x0a", raw))  # list_val { val: raw }
        with pytest.raises(ValueError, match="deep"):
            decode(raw)


def _framed(tag, body):
    size = bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) if len(body) > 127 else bytes([len(body)])
    return tag + size + body


def _spoil(raw, position, byte):
    return raw[: position % (len(raw) + 1)] + bytes([byte]) + raw[position % (len(raw) + 1) + 1 :]


class TestColumn:
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.none() | st.floats(), max_size=40) | st.lists(st.none() | INT64, max_size=40))
    def test_a_column_is_its_values_one_by_one(self, items):
        kind = {float: "double_val", int: "int64_val"}
        raws = [b"" if v is None else pb.Value(**{kind[type(v)]: v}).SerializeToString() for v in items]
        assert repr(decode_column(raws, Memo(5))) == repr(items)

    def test_changing_a_list_does_not_change_the_next_answer(self):
        raw, memo = pb.Value(int64_list_val=pb.Int64List(val=[1])).SerializeToString(), Memo(10)
        decode_column([raw], memo)[0].append(9)
        assert decode_column([raw], memo) == [[1]]
