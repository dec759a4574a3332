"""Bad requests without end, the same for the same seed: valid ones of each protocol, spoiled in every way.

Some stay valid by chance. `amounts` then says what the right answer is: the model `types` gives back its
column `amount`. The model `told` takes params, and answers with what it was told.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb

from .grpc_caller import FIELDS
from .tensors import TYPES, binary_body, raw, tensor, types_inputs

PROTOCOLS = ("V1", "V2 JSON", "V2 binary", "gRPC", "MLflow")
PARAMS_MODEL = "told"
_RAW = "\0raw\0"
_TOKENS = (
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1e39",
        "1e-400",
        "-0.0",
        "01",
        "+1",
        ".5",
        "1.",
        "0x1",
    ),
    *(
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "2147483648",
        "9" * 400,
        "9" * 5000,
    ),
    *(
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u0000"',
        '"🦄"',
        '"4.5"',
        '""',
        '"NaN"',
        "'a'",
        "tru",
        "null",
        "true",
    ),
    *(
        "[]",
        "{}",
        "[[]]",
        "[null]",
        '{"a":1}',
        "[" * 200 + "]" * 200,
        "[" * 3000,
        '{"a":' * 500,
        '"' + "x" * 9000 + '"',
    ),
)
_SIZES = (-1, 0, 1, 2, 3, 7, 501, 2**31, 2**32, 2**62, -(2**62))
_DATATYPES = (*FIELDS, "FP16", "BF16", "", "fp64", "float", "INT128", "BYTES ", "\0", "X" * 3000)
_NAMES = (
    "",
    "amount",
    "flag",
    "AMOUNT",
    "amount ",
    "\uff41mount",
    "instances",
    "x" * 5000,
    "\u202e",
    "customer_id",
    "0",
)
_MEDIA = (
    "",
    "text/plain",
    "application/xml",
    "application/json; charset=utf-16",
    "application/json;;",
    "\xff",
    "a" * 2000,
)
_PARAMS: dict[str, tuple[Any, ...]] = {
    "scale": (2.0, 3, -1e300, "2", None, True, [1.0]),
    "count": (1, -(2**31), 2**31, 1.5, "1", None),
    "big": (2**53 + 1, 2**63 - 1, 2**63, -(2**70), {}),
    "ratio": (0.25, 3e38, 1e39, "x"),
    "strict": (True, False, 0, "true"),
    "note": ("", "Ⅻ\u202e🦄", "x" * 9000, 5, ["a"]),
    "stop": ([], ["a", "b"], ["a", None], "[]", '["a"]', "[", "a", [["a"]], {"a": 1}),
    "moment": ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09", "0001-01-01T00:00:00+14:00", "yesterday", 1),
    "limit": (None, 7, "7", 1e30),
    "temperature": (0.5, None),
    "priority": (1, "x"),
    "binary_data_output": (True, "x"),
    "": (1,),
    "\0": (1,),
    "scale ": (1.0,),
}
_FORMS = ("dataframe_records", "dataframe_split", "instances", "inputs")
_LENGTHS = ("-1", "0", "1", "99", "1e2", "abc", "9" * 30, "0x10", "", " 5", "\uff15")
_MODELS = (
    *("types",) * 30,
    "wide",
    "pair",
    "echo-string",
    "echo-long",
    "lookedup",
    "unknown",
    "",
    "a/b",
    "%2e%2e",
)


@dataclass(frozen=True)
class Payload:
    """One request; `amounts` is the right answer when the request turns out to be valid, if that is known."""

    protocol: str
    kind: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    amounts: list[Any] | None = None


class Payloads:
    """Yields payloads of all protocols in turn."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[Payload]:
        made = (self._v1, self._v2, self._binary, self._grpc, self._mlflow)
        makers = dict(zip(PROTOCOLS, made, strict=True))
        while True:
            for make in makers.values():
                yield make()

    def _given(self) -> dict[str, Any]:
        """Some params, right and wrong ones."""
        names = self._random.sample(list(_PARAMS), self._random.choice((0, 1, 1, 2, 3)))
        return {name: self._random.choice(_PARAMS[name]) for name in names}

    def _with_params(self) -> bool:
        return self._random.random() < 0.1

    def _spoil_params(self, protocol: str, path: str, request: dict[str, Any]) -> Payload:
        _, body = self._spoil_json(request)
        _, body, headers = self._spoil_http("params", body, {})
        return Payload(protocol, "params", path, body, headers)

    def _mlflow(self) -> Payload:
        form = self._random.choice(_FORMS)
        if self._with_params():
            request: dict[str, Any] = {form: _table(form, [{"x": 1.5}]), "params": self._given()}
            return self._spoil_params("MLflow", f"/models/{PARAMS_MODEL}/invocations", request)
        rows = [self._row() for _ in range(self._random.choice((1, 1, 2, 3)))]
        request = {form: _table(form, rows)}
        if self._random.random() < 0.05:
            request["params"] = self._random.choice(({}, {"a": 1}, 5, None))
        kind, body = self._spoil_json(request)
        headers: dict[str, str] = {}
        if self._random.random() < 0.15:
            kind, body, headers = "CSV", self._csv(rows), {"content-type": "text/csv"}
        kind, body, headers = self._spoil_http(kind, body, headers)
        model = self._model()
        path = f"/models/{model}/invocations"
        if self._random.random() < 0.1:
            path, headers = "/invocations", headers | {"mlops-model": model}
        return Payload("MLflow", kind, path, body, headers, _mlflow_amounts(body) if kind != "CSV" else None)

    def _csv(self, rows: list[dict[str, Any]]) -> bytes:
        lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        if self._random.random() < 0.5:
            line = self._random.choice(lines)
            line[self._random.randrange(len(line))] = self._random.choice((*_TOKENS, "NA", '"', "a,b", ""))[
                :5000
            ]
        body = "\n".join(",".join(line) for line in lines).encode(errors="replace")
        return body if self._random.random() < 0.7 else self._spoil_bytes(body)[1]

    def _row(self) -> dict[str, Any]:
        return {name: self._random.choice(values) for name, _, values in TYPES}

    def _v1(self) -> Payload:
        if self._with_params():
            request = {"instances": [[1.5]], "parameters": self._given()}
            return self._spoil_params("V1", f"/v1/models/{PARAMS_MODEL}:predict", request)
        rows: list[Any] = []
        for _ in range(self._random.choice((1, 1, 2, 3))):
            row = self._row()
            rows.append(row if self._random.random() < 0.5 else list(row.values()))
        kind, body = self._spoil_json({"instances": rows})
        kind, body, headers = self._spoil_http(kind, body, {})
        return Payload("V1", kind, f"/v1/models/{self._model()}:predict", body, headers, _v1_amounts(body))

    def _v2(self) -> Payload:
        if self._with_params():
            told = {"inputs": [tensor("x", "FP64", [1.5])], "parameters": self._given()}
            return self._spoil_params("V2 JSON", f"/v2/models/{PARAMS_MODEL}/infer", told)
        request = self._request()
        kind, body = self._spoil_json(request)
        kind, body, headers = self._spoil_http(kind, body, {})
        return Payload("V2 JSON", kind, self._v2_path(), body, headers, _v2_amounts(body))

    def _binary(self) -> Payload:
        request = self._request()
        inputs = [each for each in request.pop("inputs") if isinstance(each.get("data"), list | bytes)]
        kind = "raw tensors"
        for each in inputs:
            values, datatype = each["data"], each["datatype"]
            each["data"] = self._raw_data(datatype, values)
        body, headers = binary_body(inputs, **request)
        headers |= {"content-type": "application/octet-stream"}
        chance = self._random.random()
        if chance < 0.15:
            kind, headers["inference-header-content-length"] = "length of JSON", self._random.choice(_LENGTHS)
        elif chance < 0.3:
            kind, body = "sizes", body + b"x" * self._random.choice((1, 8, 4096))
        elif chance < 0.45:
            kind, body = "sizes", body[: -self._random.choice((1, 4, 9, 60))]
        elif chance < 0.65:
            kind, body = self._spoil_bytes(body)
        kind, body, headers = self._spoil_http(kind, body, headers)
        return Payload("V2 binary", kind, self._v2_path(), body, headers)

    def _grpc(self) -> Payload:
        method = self._random.choice(("ModelInfer",) * 8 + ("ModelMetadata", "ModelReady", "ServerMetadata"))
        if method != "ModelInfer":
            message: Any = getattr(pb, f"{method}Request")()
            if method != "ServerMetadata":
                message.name, message.version = self._model(), self._random.choice(("", "1", "x"))
            kind, body = self._spoil_bytes(message.SerializeToString())
            return Payload("gRPC", kind, method, body)
        if self._with_params():
            return self._grpc_params()
        request = pb.ModelInferRequest(model_name=self._model(), id=self._random.choice(("", "1", "x" * 300)))
        uses_raw = self._random.random() < 0.5
        for each in types_inputs(self._random.choice((1, 2))):
            self._add_input(request, self._spoil_tensor(each), uses_raw=uses_raw)
        kind, body = ("raw tensors" if uses_raw else "typed tensors"), request.SerializeToString()
        if self._random.random() < 0.3:
            kind, body = self._spoil_bytes(body)
        return Payload("gRPC", kind, method, body)

    def _grpc_params(self) -> Payload:
        request = pb.ModelInferRequest(model_name=PARAMS_MODEL)
        uses_raw = self._random.random() < 0.5
        self._add_input(request, tensor("x", "FP64", [1.5]), uses_raw=uses_raw)
        kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
        for name, value in self._given().items():
            given = self._random.choice((value, value, value, float("nan"), float("-inf"), ""))
            if type(given) not in kinds or (type(given) is int and not -(2**63) <= given < 2**63):
                request.parameters[name].SetInParent()  # there, and without a value
            else:
                setattr(request.parameters[name], kinds[type(given)], given)
        body = request.SerializeToString()
        return Payload(
            "gRPC",
            "params",
            "ModelInfer",
            self._spoil_bytes(body)[1] if self._random.random() < 0.2 else body,
        )

    def _add_input(self, request: pb.ModelInferRequest, each: dict[str, Any], *, uses_raw: bool) -> None:
        if self._random.random() < 0.03:
            return
        added = request.inputs.add(name=str(each["name"]), datatype=str(each["datatype"]))
        shape = each["shape"] if isinstance(each["shape"], list) else [1]
        added.shape.extend(size for size in shape if isinstance(size, int) and -(2**63) <= size < 2**63)
        values = each["data"] if isinstance(each["data"], list) else []
        if uses_raw and self._random.random() < 0.98:
            request.raw_input_contents.append(self._raw_data(each["datatype"], values))
        if not uses_raw or self._random.random() < 0.01:
            name = FIELDS.get(each["datatype"]) or self._random.choice(list(FIELDS.values()))
            for value in values:
                try:
                    getattr(added.contents, name).append(value.encode() if isinstance(value, str) else value)
                except (TypeError, ValueError, UnicodeEncodeError):
                    added.contents.bytes_contents.append(b"\xff")

    def _request(self) -> dict[str, Any]:
        """A V2 request: valid, or spoiled where only tensors can be."""
        inputs = [self._spoil_tensor(each) for each in types_inputs(self._random.choice((1, 2)))]
        chance = self._random.random()
        if chance < 0.05:
            inputs.append(dict(self._random.choice(inputs)))
        elif chance < 0.1:
            inputs.pop(self._random.randrange(len(inputs)))
        elif chance < 0.15:
            width = self._random.choice((1, 2, 3, 6))
            inputs = [self._spoil_tensor(tensor("m", "FP64", [1.5] * width, [1, width]))]
        elif chance < 0.2:
            inputs = [
                self._spoil_tensor(
                    tensor("customer_id", "BYTES", [self._random.choice(("a", "nobody", ""))])
                ),
                self._spoil_tensor(tensor("x2", "FP64", [1.0])),
            ]
        request: dict[str, Any] = {"inputs": inputs}
        if self._random.random() < 0.2:
            request["outputs"] = [{"name": self._random.choice(("predictions", "no", ""))}]
        if self._random.random() < 0.1:
            request["parameters"] = {"binary_data_output": self._random.choice((True, False, 1, "x", None))}
        return request

    def _spoil_tensor(self, each: dict[str, Any]) -> dict[str, Any]:
        """One tensor, four times in five as it is."""
        each = dict(each)
        choice = self._random.random()
        if choice < 0.04:
            each["shape"] = [self._random.choice(_SIZES) for _ in range(self._random.choice((0, 1, 2, 3, 9)))]
        elif choice < 0.08:
            each["datatype"] = self._random.choice(_DATATYPES)
        elif choice < 0.11:
            each["name"] = self._random.choice(_NAMES)
        elif choice < 0.14:
            each["data"] = each["data"] * self._random.choice((0, 2, 300))
        elif choice < 0.17:
            each["data"] = [self._random.choice((float("nan"), float("inf"), -1e308, 3e38, 0))] * len(
                each["data"]
            )
        elif choice < 0.2:
            rows = self._random.choice((1, 2, 3, 500, 501))
            each["data"], each["shape"] = each["data"][:1] * rows, [rows, 1]
        return each

    def _raw_data(self, datatype: Any, values: Any) -> bytes:
        try:
            data = raw(datatype, values)
        except Exception:  # values that the data type cannot hold: then any bytes
            data = self._random.randbytes(self._random.choice((0, 1, 4, 8, 16)))
        if self._random.random() < 0.06:
            data = self._spoil_bytes(data)[1]
        return data

    def _spoil_json(self, value: Any) -> tuple[str, bytes]:
        choice = self._random.random()
        if choice < 0.12:
            return self._spoil_bytes(_dump(value, ""))
        if choice < 0.17:
            return "other JSON", self._random.choice(_TOKENS).encode(errors="replace")
        if choice < 0.6:
            token = self._random.choice(_TOKENS)
            return "a value replaced", _dump(self._replaced(value), token)
        if choice < 0.7:
            return "a field renamed, doubled or dropped", self._rename(_dump(value, ""))
        return "tensors or rows", _dump(value, "")

    def _replaced(self, value: Any) -> Any:
        """The value with one of its parts, however deep, replaced by the mark for a token."""
        if not value or not isinstance(value, dict | list) or self._random.random() < 0.15:
            return _RAW
        place = self._random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        changed = dict(value) if isinstance(value, dict) else list(value)
        changed[place] = self._replaced(value[place])
        return changed

    def _rename(self, body: bytes) -> bytes:
        fields = (
            "instances",
            "inputs",
            "name",
            "shape",
            "datatype",
            "data",
            "flag",
            "amount",
            "label",
            "ratio",
        )
        old, new = self._random.choice(fields), self._random.choice((*fields, "", "x"))
        return body.replace(f'"{old}"'.encode(), f'"{new}"'.encode(), self._random.choice((1, 2, 99)))

    def _spoil_bytes(self, body: bytes) -> tuple[str, bytes]:
        changes: tuple[tuple[str, Callable[[], bytes]], ...] = (
            ("cut off", lambda: body[: self._random.randrange(len(body) + 1)]),
            ("bits flipped", lambda: self._flipped(body)),
            ("any bytes", lambda: self._random.randbytes(self._random.choice((0, 1, 7, 64, 1000)))),
            ("doubled", lambda: body + body),
        )
        kind, change = self._random.choice(changes)
        return kind, change()

    def _flipped(self, body: bytes) -> bytes:
        changed = bytearray(body)
        for _ in range(min(len(changed), self._random.choice((1, 1, 3, 10)))):
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _spoil_http(
        self, kind: str, body: bytes, headers: dict[str, str]
    ) -> tuple[str, bytes, dict[str, str]]:
        choice = self._random.random()
        if choice < 0.02:
            return "content type", body, headers | {"content-type": self._random.choice(_MEDIA)}
        if choice < 0.03:
            return (
                "content encoding",
                body,
                headers | {"content-encoding": self._random.choice(("gzip", "br", "x"))},
            )
        if choice < 0.035:
            return "too large", body + b" " * 250_000, headers
        if choice < 0.05:
            key = self._random.choice(("", "Bearer", "Bearer x", "Basic YTpi", "Bearer " + "x" * 5000))
            return "key", body, headers | {"authorization": key}
        return kind, body, headers

    def _model(self) -> str:
        return self._random.choice(_MODELS)

    def _v2_path(self) -> str:
        version = self._random.choice(("",) * 20 + ("/versions/1", "/versions/x", "/versions/"))
        root = self._random.choice(("",) * 20 + ("/acme/production", "/umbrella/production", "/acme/x"))
        return f"{root}/v2/models/{self._model()}{version}/infer"


def _dump(value: Any, token: str) -> bytes:
    return json.dumps(value).replace(json.dumps(_RAW), token).encode(errors="replace")


def _v1_amounts(body: bytes) -> list[Any] | None:
    try:
        rows = json.loads(body)["instances"]
        return [float(row["amount"] if isinstance(row, dict) else row[4]) for row in rows]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        return None


def _table(form: str, rows: list[dict[str, Any]]) -> Any:
    """Rows in one of MLflow's forms."""
    if form == "dataframe_split":
        return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    if form == "inputs":
        return {name: [row[name] for row in rows] for name in rows[0]}
    return rows


def _mlflow_amounts(body: bytes) -> list[Any] | None:
    try:
        request = json.loads(body)
        (form,) = [form for form in _FORMS if form in request]
        table = request[form]
        if form == "dataframe_split":
            return [float(row[table["columns"].index("amount")]) for row in table["data"]]
        if form == "inputs" and isinstance(table, dict):
            return [float(value) for value in table["amount"]]
        return [float(row["amount"] if isinstance(row, dict) else row[4]) for row in table]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError):
        return None


def _v2_amounts(body: bytes) -> list[Any] | None:
    try:
        found = [each["data"] for each in json.loads(body)["inputs"] if each["name"] == "amount"]
        return [float(value) for item in found[0] for value in (item if isinstance(item, list) else [item])]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        return None
