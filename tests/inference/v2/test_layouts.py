"""What is read by a compiled layout is just what the reader of everything reads; all else is left to that one."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ml_platform.contracts.bundles import EntityKey, FeatureRequest
from ml_platform.inference.decoding import UNSET, Decoded, InputColumn, InputDecoder
from ml_platform.inference.errors import ServingError
from ml_platform.inference.protocols.v2.body import decode_request, json_length
from ml_platform.inference.protocols.v2.datatypes import DATATYPES
from ml_platform.inference.protocols.v2.inputs import InputReader
from ml_platform.inference.protocols.v2.layouts import LayoutReader
from tests.inference.support.tensors import KINDS, binary_body, tensor

OFTEN = 16
COLUMNS = (
    InputColumn("flag", "boolean"),
    InputColumn("small", "integer"),
    InputColumn("big", "long", nullable=True),
    InputColumn("ratio", "float", nullable=True, narrow=True),
    InputColumn("amount", "double"),
    InputColumn("label", "string", nullable=True),
    InputColumn("when", "datetime"),
)
TYPES = {column.name: column.type for column in COLUMNS}
NATURAL = {name: KINDS.get(kind, KINDS["string"])[0] for name, kind in TYPES.items()}
NUMBERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32", "UINT64", "FP16", "FP32", "FP64")
ODD_VALUES = [None, True, "1", 1.0, 1.5, -1, 0, 127, 128, 300, 2**31, 2**63, 2**64, 10**400, 1e39, -1e300, ""]


def good(name: str, datatype: str) -> st.SearchStrategy[Any]:
    kind = DATATYPES[datatype].kind
    if TYPES[name] == "datetime":
        return st.sampled_from(["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.5+02:00"])
    if kind == "int":
        return st.integers(0, 100)
    if kind == "float":
        return st.floats(-1000, 1000, width=16)
    return st.booleans() if kind == "bool" else st.text(max_size=6)


@st.composite
def requests(draw) -> tuple[list[dict], bool]:
    """Inputs that are mostly right, and whether they go raw."""
    count, raw = draw(st.integers(1, 3)), draw(st.booleans())
    inputs = []
    for name in draw(st.permutations(list(TYPES))):
        if name in {"big", "ratio", "label"} and draw(st.integers(0, 5)) == 0:
            continue
        datatype = NATURAL[name]
        if TYPES[name] in {"integer", "long"}:
            datatype = draw(st.sampled_from([datatype] * 6 + [n for n in NUMBERS if "INT" in n]))
        elif TYPES[name] in {"float", "double"}:
            datatype = draw(st.sampled_from([datatype] * 6 + list(NUMBERS)))
        values = draw(st.lists(good(name, datatype), min_size=count, max_size=count))
        if draw(st.integers(0, 15)) == 0 and not raw:
            values[0] = draw(st.sampled_from(ODD_VALUES))
        shape = [count, 1] if draw(st.booleans()) else [count]
        inputs.append(tensor(name, datatype, values, shape))
    return inputs, raw


def revision(columns=COLUMNS, features: FeatureRequest | None = None) -> Any:
    return SimpleNamespace(
        decoder=InputDecoder(columns, features, 100), manifest=SimpleNamespace(signature=SIGNATURE)
    )


SIGNATURE = SimpleNamespace(layout="columns")


def body_of(inputs: list[dict], *, raw: bool = False, **more: Any) -> tuple[bytes, dict[bytes, bytes]]:
    if not raw:
        return json.dumps({"inputs": inputs, **more}).encode(), {}
    body, headers = binary_body(inputs, **more)
    return body, {key.encode(): value.encode() for key, value in headers.items()}


def left_to_the_other(shown: Any, body: bytes, headers: dict[bytes, bytes]) -> Decoded | None:
    try:
        return InputReader(shown).read(decode_request(body, headers).inputs)
    except ServingError:
        return None


def know(reader: LayoutReader, inputs: list[dict], *, raw: bool) -> None:
    """Lets a layout come so often that it is compiled."""
    tensors: Any = [SimpleNamespace(name=each["name"], datatype=each["datatype"]) for each in inputs]
    for _ in range(OFTEN):
        reader.notice(tensors, 1, binary=raw)


class TestReading:
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(request=requests())
    def test_gives_the_same_rows_or_none(self, request):
        inputs, raw = request
        shown = revision()
        body, headers = body_of(inputs, raw=raw, id="7")
        expected = left_to_the_other(shown, body, headers)
        reader = LayoutReader(shown)
        know(reader, inputs, raw=raw)
        found = reader.read(body, json_length(body, headers))
        if found is not None:
            assert expected is not None
            assert repr(list(found[1].rows)) == repr(list(expected.rows))
            assert found[1].keys == expected.keys
            assert found[0].id == "7"
        elif expected is not None:  # only what is not worth it is left
            assert (raw and inputs[0]["shape"][0] > 1) or "UINT64" in {each["datatype"] for each in inputs}

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        value=st.one_of(st.sampled_from(ODD_VALUES), st.floats(), st.integers(-(2**70), 2**70)),
        name=st.sampled_from(list(TYPES)),
    )
    @example(value=float("nan"), name="amount")
    @example(value=float("inf"), name="ratio")
    def test_of_any_value_is_right_or_left(self, value, name):
        shown = revision()
        inputs = [tensor(n, NATURAL[n], [value if n == name else SAMPLE[n]]) for n in TYPES]
        reader = LayoutReader(shown)
        for raw in (False, True):
            try:
                body, headers = body_of(inputs, raw=raw)
            except Exception:
                continue
            expected = left_to_the_other(shown, body, headers)
            found = reader.read(body, json_length(body, headers))
            if found is not None:
                assert expected is not None
                assert repr(list(found[1].rows)) == repr(list(expected.rows))


SAMPLE = {
    "flag": True,
    "small": 1,
    "big": 2,
    "ratio": 0.5,
    "amount": 4.5,
    "label": "Ⅻ",
    "when": "2024-02-29T12:00:00Z",
}


def sample(*names: str, **changes: Any) -> list[dict]:
    return [tensor(n, NATURAL[n], [SAMPLE[n]]) | changes.get(n, {}) for n in names or TYPES]


class TestLayouts:
    @pytest.mark.parametrize("raw", [False, True])
    def test_of_the_metadata_are_known_at_once_and_others_when_they_have_come_often(self, raw):
        reader = LayoutReader(revision())
        assert ask(reader, sample(), raw=raw) is not None
        turned = sample()[::-1]
        assert ask(reader, turned, raw=raw) is None
        know(reader, turned, raw=raw)
        assert ask(reader, turned, raw=raw) == ask(reader, sample(), raw=raw)

    def test_that_come_no_more_are_forgotten(self):
        reader = LayoutReader(revision())
        names = list(TYPES)
        orders = [names[index:] + names[:index] for index in range(1, 6)]
        for order in orders:
            know(reader, sample(*order), raw=False)
        assert ask(reader, sample(*orders[0])) is None
        assert all(ask(reader, sample(*order)) is not None for order in orders[2:])

    @pytest.mark.parametrize(
        "inputs",
        [
            sample()[1:],
            [*sample(), tensor("more", "INT64", [1])],
            [*sample(), *sample("flag")],
            sample(amount={"datatype": "BF16"}),
            sample(amount={"datatype": "BYTES"}),
            [tensor("all", "FP64", [1.0] * 7, [1, 7])],
        ],
    )
    def test_that_mean_nothing_certain_are_never_compiled(self, inputs):
        reader = LayoutReader(revision())
        for raw in (False, True):
            know(reader, inputs, raw=raw)
        assert ask(reader, inputs) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"amount": {"data": [[4.5]], "shape": [1, 1]}},
            {"amount": {"data": [4.5, 5.5], "shape": [1]}},
            {"amount": {"data": [], "shape": [0]}},
            {"amount": {"shape": [1, 1, 1]}},
            {"amount": {"shape": [2]}},
            {"amount": {"parameters": {"binary_data_size": 8}}},
            {"amount": {"data": None}},
        ],
    )
    def test_with_other_shapes_or_forms_are_left(self, change):
        assert ask(LayoutReader(revision()), sample(**change)) is None

    def test_of_long_columns_are_left(self):
        rows = 5000
        column = InputColumn("x", "double")
        shown = revision((column,))
        assert ask(LayoutReader(shown), [tensor("x", "FP64", [1.25] * 2)]) is not None
        assert ask(LayoutReader(shown), [tensor("x", "FP64", [1.25] * 101)]) is None  # more than are allowed
        assert ask(LayoutReader(shown), [tensor("x", "FP64", [0.123456789012345] * rows)]) is None

    def test_leave_out_columns_that_are_looked_up(self):
        features = FeatureRequest(
            entities=(EntityKey(name="customer", type="string"),), columns={"a": "view:a", "b": "view:b"}
        )
        columns = tuple(InputColumn(name, "double") for name in ("a", "b", "c"))
        shown = revision(columns, features)
        reader = LayoutReader(shown)
        inputs = [tensor("customer", "BYTES", ["x"]), tensor("c", "FP64", [1.0])]
        for raw in (False, True):
            know(reader, inputs, raw=raw)
            found = ask(reader, inputs, raw=raw)
            assert found == ([(UNSET, UNSET, 1.0)], [{"customer": "x"}])

    def test_that_are_asked_again_are_read_anew_each_time(self):
        reader = LayoutReader(revision())
        for label in ("aaa", "bbb", "aaaa", "é", "", "ccc"):
            found = ask(reader, sample(label={"data": [label]}), raw=True)
            assert found is not None
            assert found[0][0][5] == label

    @pytest.mark.parametrize(
        "template",
        [
            '{"id": ID, "inputs": INPUTS}',
            '{"id":ID,"inputs":INPUTS}',
            '{"inputs": INPUTS, "id": ID}',
            '{"id": "first", "inputs": INPUTS, "id": ID}',
            ' {"id": ID, "inputs": INPUTS}',
            '{"id" : ID, "inputs": INPUTS, "outputs": [{"name": "a"}]}',
        ],
    )
    def test_give_each_request_its_own_id(self, template):
        reader = LayoutReader(revision())
        whole, headers = body_of(sample(), raw=True)
        length = int(headers[b"inference-header-content-length"])
        inputs = json.dumps(json.loads(whole[:length])["inputs"])
        for name in ("a", "b", "", None, 'q"', "back\\slash", "é", "a", "\x7f", "x" * 300, "id"):
            for text in {json.dumps(name), json.dumps(name, ensure_ascii=False)}:
                head = template.replace("INPUTS", inputs).replace("ID", text).encode()
                found = reader.read(head + whole[length:], len(head))
                assert found is not None
                assert found[0].id == name
                assert bool(found[0].outputs) == ("outputs" in template)
        if template.count("id") == 2:
            head = template.replace("INPUTS", inputs).replace("ID", '"first"').encode()
            assert reader.read(head + whole[length:], len(head)) is not None
            head = head.replace(b"first", b"other", 1)
            found = reader.read(head + whole[length:], len(head))
            assert found is not None
            assert found[0].id == "first"
        for bad in ('"a', '"\\', '"\x01"', "1", '"a" "b"'):
            head = template.replace("INPUTS", inputs).replace("ID", bad).encode()
            assert reader.read(head + whole[length:], len(head)) is None

    def test_of_raw_texts_must_hold_what_their_sizes_say(self):
        reader = LayoutReader(revision())
        assert ask(reader, sample(), raw=True) is not None
        label = b"\x05\0\0\0ab\xc3\xa9c"
        for data in (b"\x04" + label[1:], label[:-1], b"\x05\0\0\0\xff\xff\xff\xff\xff", b"\0\0\0", b""):
            assert ask(reader, sample(label={"data": data}), raw=True) is None
        assert ask(reader, sample(flag={"data": b"\x02"}), raw=True) is None
        assert ask(reader, sample(label={"data": label}), raw=True) is not None

    @pytest.mark.parametrize(
        "size",
        [
            *("-1", "0", "3", "5", "1073741824", "2147483648", "4611686018427387904", "18446744073709551616"),
            *("1" + "0" * 5000, "7.0", '"7"', "null", "true"),
        ],
        ids=lambda size: size[:30],
    )
    @pytest.mark.parametrize("name", ["label", "amount"])
    def test_of_raw_tensors_of_any_size_are_right_or_left(self, name, size):
        reader = LayoutReader(revision())
        body, headers = body_of(sample(), raw=True)
        length = int(headers[b"inference-header-content-length"])
        given = json.loads(body[:length])
        parameters = {each["name"]: each["parameters"] for each in given["inputs"]}
        parameters[name]["binary_data_size"] = "SIZE"
        head = json.dumps(given).replace('"SIZE"', size).encode()
        assert reader.read(head + body[length:], len(head)) is None

    def test_do_not_keep_what_stands_behind_the_inputs(self):
        reader = LayoutReader(revision())
        body, headers = body_of(sample(), raw=True)
        assert reader.read(body, json_length(body, headers)) is not None
        assert reader.read(body + b"\0", json_length(body, headers)) is None
        assert reader.read(body[:-1], json_length(body, headers)) is None


def ask(reader: LayoutReader, inputs: list[dict], *, raw: bool = False) -> tuple[list, Any] | None:
    body, headers = body_of(inputs, raw=raw)
    found = reader.read(body, json_length(body, headers))
    return None if found is None else (list(found[1].rows), found[1].keys)
