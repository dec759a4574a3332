"""The program that explains: started by a worker's `Explainer`, it imports SHAP so that no worker has to.

Messages are JSON on its standard pipes, each after its length in four bytes (big-endian). A question names a
bundle and the rows; while it is worked on, a model that runs in a process of its own is asked through the
worker: `{"predict": rows, "scores": false}` out, `{"predictions": [...]}` in; with `scores` for those of all classes. Then comes the answer. The end of the input is the
end of the program.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any

from ml_platform.contracts.bundles import BundleError, BundleManifest, Scalar
from ml_platform.inference.bundlestore import verify
from ml_platform.inference.explaining.attributions import NotExplainableError, Predict, attribute
from ml_platform.inference.explaining.classes import by_class, with_probabilities
from ml_platform.inference.explaining.limits import restrict
from ml_platform.inference.runtimes.onnx import OnnxRuntime

_KEPT = 8
_ROWS_AT_ONCE = 256
"""Asked of an isolated model at a time, so that its other callers get their turn."""


class Program:
    """Reads questions and answers them, one after the other."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers
        self._bundles: OrderedDict[str, tuple[BundleManifest, list[list[Any]], Predict | None]] = (
            OrderedDict()
        )
        self._threads = ThreadPoolExecutor(1)

    def run(self) -> None:
        while (question := self._read()) is not None:
            self._write(self._answer(question))

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            manifest, background, graph = self._bundle(Path(question["bundle"]), question["digest"])
            classes: Sequence[Scalar] | None = manifest.classes if by_class(manifest) else None
            predict = graph
            if predict is None:
                predict, classes = self._isolated(manifest, question["rows"], classes)
            found = attribute(predict, background, question["rows"], len(classes) if classes else None)
        except NotExplainableError as error:
            return {"unsupported": str(error)}
        except (BundleError, _RefusedError) as error:
            return {"error": str(error)}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error!s}"[:2000]}
        names = [column.name for column in manifest.signature.inputs]
        return {"explanations": [_explanation(e["base_value"], e["values"], names, classes) for e in found]}

    def _bundle(self, directory: Path, digest: str) -> tuple[BundleManifest, list[list[Any]], Predict | None]:
        known = self._bundles.get(digest)
        if known is None:
            manifest = verify(directory, digest)
            if manifest.explain is None:
                raise BundleError("the bundle holds no background rows")
            background = json.loads((directory / manifest.explain.file).read_bytes())["rows"]
            graph = None
            if manifest.runtime == "onnx":
                asked = with_probabilities(manifest) if by_class(manifest) else manifest
                graph = OnnxRuntime(directory, asked, self._threads).predict
            known = self._bundles[digest] = manifest, background, graph
            if len(self._bundles) > _KEPT:
                self._bundles.popitem(last=False)
        self._bundles.move_to_end(digest)
        return known

    def _isolated(
        self, manifest: BundleManifest, rows: list[Any], classes: Sequence[Scalar] | None
    ) -> tuple[Predict, Sequence[Scalar] | None]:
        """How an isolated model is asked for numbers, and of which classes: what it answers to `rows` says that."""
        if classes is not None:
            return partial(self._ask, scores=True), classes
        first = self._ask(rows)[0]
        if isinstance(first, dict) and first:
            names = list(first)
            return lambda given: [_values(answer, names) for answer in self._ask(given)], names
        declared = manifest.classes is not None and manifest.output == "prediction"
        if isinstance(first, str | bool) or (declared and not isinstance(first, list)):
            first = self._ask(rows, scores=True)[0]
            return partial(self._ask, scores=True), _named(manifest, first)
        return self._ask, _named(manifest, first) if isinstance(first, list) and first else None

    def _ask(self, rows: list[Any], *, scores: bool = False) -> list[Any]:
        """Predictions of a model whose process belongs to the worker."""
        predictions: list[Any] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            self._write({"predict": rows[start : start + _ROWS_AT_ONCE], "scores": scores})
            answer = self._read()
            if answer is None:
                raise EOFError
            if "unsupported" in answer:
                raise NotExplainableError(answer["unsupported"])
            if "error" in answer:
                raise _RefusedError(answer["error"])
            predictions += answer["predictions"]
        return predictions

    def _read(self) -> Any:
        head = self._requests.read(4)
        if len(head) < 4:
            return None
        return json.loads(self._requests.read(struct.unpack(">I", head)[0]))

    def _write(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, allow_nan=False).encode()
        self._answers.write(struct.pack(">I", len(data)) + data)
        self._answers.flush()


def _explanation(
    base: Any, values: list[Any], names: list[str], classes: Sequence[Scalar] | None
) -> dict[str, Any]:
    """What is sent of one row; each class has a base value and values of its own."""
    if classes is None:
        return {"base_value": base, "values": dict(zip(names, values, strict=True))}
    return {
        "classes": [
            {
                "class": label,
                "base_value": base[place],
                "values": {name: shares[place] for name, shares in zip(names, values, strict=True)},
            }
            for place, label in enumerate(classes)
        ]
    }


def _named(manifest: BundleManifest, scores: Any) -> Sequence[Scalar]:
    """The classes that a list of scores belongs to: the manifest's, or their places."""
    count = len(scores) if isinstance(scores, list) else 0
    if manifest.classes is not None and len(manifest.classes) == count:
        return manifest.classes
    if not count:
        raise NotExplainableError(f"a list of scores expected, got {str(scores)[:100]!r}")
    return range(count)


def _values(answer: Any, names: list[str]) -> list[Any]:
    if not isinstance(answer, dict) or answer.keys() != set(names):
        raise NotExplainableError(f"it does not always answer with {', '.join(names)[:200]}")
    return [answer[name] for name in names]


class _RefusedError(Exception):
    """The model did not answer the worker."""


def main(arguments: list[str]) -> int:
    memory_bytes, parent = (int(argument) for argument in arguments)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    restrict(memory_bytes, parent)
    Program(requests, answers).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
