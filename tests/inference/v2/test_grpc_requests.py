"""Requests of gRPC whose form is remembered are read as those that come for the first time."""

import re
import struct
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ml_platform.inference.errors import InvalidInput, ServingError
from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb
from ml_platform.inference.protocols.v2.grpc_requests import Requests
from ml_platform.inference.protocols.v2.inputs import InputReader
from ml_platform.inference.protocols.v2.layouts import LayoutReader
from tests.inference.support.tensors import raw as raw_of
from tests.inference.support.tensors import tensor as tensor_of
from tests.inference.v2.test_layouts import NATURAL, SAMPLE, TYPES, know, revision
from tests.inference.v2.test_layouts import requests as layout_requests

REMEMBERING = Requests()
"""One for all examples: what it has seen must not change what it reads."""


def one(**fields) -> bytes:
    """A part of a message; parts may stand in any order, and later ones add to earlier ones."""
    return pb.ModelInferRequest(**fields).SerializeToString()


def tensor(name: str, datatype: str = "FP64", shape: tuple[int, ...] = (1, 1)) -> bytes:
    return one(inputs=[pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)])


def raw(data: bytes) -> bytes:
    return one(raw_input_contents=[data])


def long_winded(data: bytes) -> bytes:
    """The same with a length that takes more bytes than it must."""
    length = len(data)
    return b"\x3a" + bytes((length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14)) + data


NAMES = st.sampled_from(["a", "b", "c"])
TENSORS = st.builds(
    tensor, NAMES, st.sampled_from(["FP64", "BYTES"]), st.sampled_from([(1,), (1, 1), (2, 1)])
)
CONTENTS = st.binary(max_size=5) | st.sampled_from([b"x" * 127, b"x" * 128, b"x" * 16_384])
RAW = st.builds(raw, CONTENTS) | st.builds(long_winded, CONTENTS)
OTHERS = st.sampled_from(
    [
        one(model_name="m"),
        one(model_version="7"),
        one(id="mine"),
        one(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="high")]),
        b"\xa2\x06\x03abc",  # a field that is not known
        b"\xa2\x06\x02\x3a\x00",  # and one that looks like raw contents within
    ]
)


@st.composite
def requests(draw) -> bytes:
    """As clients write them, or with their parts in any order."""
    count = draw(st.integers(1, 4))
    parts = [draw(TENSORS) for _ in range(count)] + [
        draw(RAW) for _ in range(draw(st.sampled_from([count, 2])))
    ]
    parts[:0] = draw(st.lists(OTHERS, max_size=2))
    if draw(st.booleans()):
        parts = draw(st.permutations(parts))
    return b"".join(parts)


def told(requests: Requests, data: bytes):
    try:
        read = requests.read(pb.ModelInferRequest.FromString(data), data)
    except InvalidInput as error:
        return str(error)
    return [(t.name, t.datatype, tuple(t.shape), t.data) for t in read.inputs], list(read.outputs)


class TestForms:
    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests())
    def test_that_are_remembered_change_nothing(self, data):
        message = pb.ModelInferRequest.FromString(data)
        first = told(Requests(), data)
        assert told(REMEMBERING, data) == told(REMEMBERING, data) == first
        if not isinstance(first, str):
            assert [name for name, *_ in first[0]] == [each.name for each in message.inputs]
            assert [content for *_, content in first[0]] == list(message.raw_input_contents)

    def test_are_those_of_callers_that_repeat_themselves(self):
        requests = Requests()
        for value in range(3):
            read = told(requests, one(model_name="m") + tensor("a") + raw(bytes((value,)) * 8))
            assert read == ([("a", "FP64", (1, 1), bytes((value,)) * 8)], [])
        assert len(requests._forms) == 1

    def test_are_not_kept_of_requests_with_ids_nor_without_end(self):
        requests = Requests()
        told(requests, one(id="mine") + tensor("a") + raw(b"x"))
        assert not requests._forms
        for number in range(1000):
            told(requests, tensor(f"column-{number}") + raw(b"x"))
        told(requests, tensor("x" * 20_000) + raw(b"x"))
        assert 0 < len(requests._forms) <= 64
        assert all(len(head) <= 16_384 for head in requests._forms)

    @pytest.mark.parametrize("more", [tensor("b"), raw(b"y"), one(outputs=[{"name": "o"}]), b"\xa2\x06\x01x"])
    def test_that_go_on_behind_raw_contents_are_seen(self, more):
        requests = Requests()
        data = tensor("a") + raw(b"x" * 8)
        told(requests, data)
        assert told(requests, data + more) == told(Requests(), data + more)


def as_message(inputs: list[dict]) -> bytes:
    parts = [tensor(each["name"], each["datatype"], tuple(each["shape"])) for each in inputs]
    return b"".join(parts + [raw(raw_of(each["datatype"], each["data"])) for each in inputs])


class TestRows:
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(layout_requests())
    def test_are_the_same_by_a_compiled_layout_and_without(self, given_request):
        inputs, _ = given_request
        assume(not any(value is None for each in inputs for value in each["data"]))
        try:
            data = as_message(inputs)
        except (struct.error, AttributeError, TypeError, OverflowError):
            return  # a value that no tensor can hold
        shown = revision()
        request = Requests().read(pb.ModelInferRequest.FromString(data), data)
        try:
            expected = InputReader(shown).read(request.inputs)
        except ServingError as error:
            with pytest.raises(type(error), match=re.escape(str(error))):
                request.read(once(shown))
            return
        everything = once(shown)
        know(everything.once(LayoutReader), inputs, raw=True)
        for reader in (once(shown), everything):
            assert repr(list(request.read(reader).rows)) == repr(list(expected.rows))

    @pytest.mark.parametrize("size", range(10))
    @pytest.mark.parametrize("name", list(TYPES))
    def test_whose_bytes_are_too_few_or_too_many_are_refused_as_without_a_layout(self, name, size):
        inputs = [tensor_of(each, NATURAL[each], [SAMPLE[each]]) for each in TYPES]
        parts = [tensor(each["name"], each["datatype"]) for each in inputs]
        contents = [
            bytes(size) if each["name"] == name else raw_of(each["datatype"], each["data"]) for each in inputs
        ]
        data = b"".join([*parts, *map(raw, contents)])
        request = Requests().read(pb.ModelInferRequest.FromString(data), data)

        def told_by(read) -> str:
            try:
                return repr(list(read().rows))
            except ServingError as error:
                return str(error)

        shown = once(revision())
        assert told_by(lambda: request.read(shown)) == told_by(
            lambda: InputReader(shown).read(request.inputs)
        )


def once(shown):
    """With what a live revision remembers of its protocols."""
    made = {}
    shown = SimpleNamespace(**vars(shown))
    shown.once = lambda make: made.setdefault(make, make(shown)) if make not in made else made[make]
    return shown
