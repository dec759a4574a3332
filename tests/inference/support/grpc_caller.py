"""A caller of gRPC without any client's help: bytes of the published messages over a plain channel."""

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb

from .control import CALLER
from .server import eventually

_SERVICE = "/inference.GRPCInferenceService/"
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class GrpcCaller:
    """Asks as the caller of team acme; errors are raised as `grpc.RpcError`."""

    def __init__(self, port: int, options: Sequence[tuple[str, Any]] = ()) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)

    def close(self) -> None:
        self.channel.close()

    def send(
        self, method: str, data: bytes, token: str | None = CALLER, **metadata: str
    ) -> tuple[bytes, Any]:
        """The bytes of the answer, and the call with its trailing metadata."""
        sent = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        if token is not None:
            sent.append(("authorization", f"Bearer {token}"))
        answer, call = self.channel.unary_unary(_SERVICE + method).with_call(data, metadata=sent, timeout=20)
        return answer, call

    def ask(self, method: str, token: str | None = CALLER, **fields: Any) -> Any:
        """Any other method by its fields; `metadata` as a dictionary of its own."""
        metadata = fields.pop("metadata", {})
        request = getattr(pb, f"{method}Request")(**fields)
        answer, _ = self.send(method, request.SerializeToString(), token, **metadata)
        return getattr(pb, f"{method}Response").FromString(answer)

    def infer(self, request: pb.ModelInferRequest, token: str | None = CALLER, **metadata: str) -> Any:
        answer, _ = self.send("ModelInfer", request.SerializeToString(), token, **metadata)
        return pb.ModelInferResponse.FromString(answer)


def typed(inputs: list[dict[str, Any]], model: str = "types", **more: Any) -> pb.ModelInferRequest:
    """A request with typed contents."""
    request = pb.ModelInferRequest(model_name=model, **more)
    for each in inputs:
        tensor = request.inputs.add(name=each["name"], datatype=each["datatype"], shape=each["shape"])
        values = [v.encode() if isinstance(v, str) else v for v in each["data"]]
        getattr(tensor.contents, FIELDS[each["datatype"]]).extend(values)
    return request


def values_of(output: Any) -> list[Any]:
    """What the typed contents of an output hold."""
    values = list(getattr(output.contents, FIELDS[output.datatype]))
    return [value.decode() if isinstance(value, bytes) else value for value in values]


class GrpcLoad:
    """Callers that ask again and again until the end; half of them share one connection."""

    def __init__(self, port: int, request: pb.ModelInferRequest, callers: int) -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]
        shared = GrpcCaller(port, own)
        self._callers = [shared if index % 2 else GrpcCaller(port, own) for index in range(callers)]
        self._data = request.SerializeToString()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(index,)) for index in range(callers)]
        self.answers = [0] * callers
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for caller in self._callers:
            caller.close()

    def goes_on(self) -> None:
        """Waits until every caller has been answered some times more; fails when one is not."""
        before = list(self.answers)
        eventually(
            lambda: all(now > then + 5 for now, then in zip(self.answers, before, strict=True)), "load"
        )

    def _ask(self, index: int) -> None:
        while not self._over.is_set():
            try:
                self._callers[index].send("ModelInfer", self._data)
            except grpc.RpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")
            self.answers[index] += 1
