"""Bundles on trial: what one answers, how quickly and in how much memory, on the server that will serve it."""

import hashlib
import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ml_platform.contracts.bundles import MANIFEST_NAME, BundleError, decode_manifest, encode_manifest
from ml_platform.integrations.modelbuild.children import ChildLimits, ask_trial, finite, workspace
from ml_platform.integrations.modelbuild.errors import ModelBuildError
from ml_platform.kit.environments import EnvironmentCache

_KEPT = 64
_START_SECONDS = 180.0
_ANSWER_SECONDS = 60.0
_CALL_SECONDS = 5.0
_BATCH_SECONDS = 20.0


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Attributes:
        answers: to the rows, as the wire has them.
        same: whether the same rows got the same answers a second time.
        milliseconds: of calls with one row each, over HTTP on the loopback address.
        pairs: the answer to a row and to the same row moved a little, for as many as the time allowed.
        memory_bytes: what the model takes, by the server's own account.
    """

    answers: Sequence[Any]
    same: bool
    milliseconds: Sequence[float]
    pairs: Sequence[tuple[Any, Any]]
    memory_bytes: int


class BundleTrials:
    """Starts a server for each bundle, in a child under limits that ends with everything it started.

    The same bundle with the same rows is tried once in the life of this process.
    """

    def __init__(
        self, environments: EnvironmentCache, work_root: Path, limits: ChildLimits | None = None
    ) -> None:
        self._environments = environments
        self._work_root = work_root
        self._limits = limits or ChildLimits(timeout=_START_SECONDS + 120)
        self._known: dict[str, Trial] = {}
        self._lock = threading.Lock()

    def run(
        self,
        bundle: Path,
        rows: Sequence[Any],
        *,
        plain: Sequence[Any] = (),
        moved: Sequence[Any] = (),
        calls: int = 50,
    ) -> Trial:
        """Tries a bundle on rows, and on pairs of rows.

        Raises:
            ModelBuildError: it does not load or answer; the text says why.
        """
        asked = {"rows": list(rows), "plain": list(plain), "moved": list(moved), "calls": calls}
        content = json.dumps(asked, allow_nan=False).encode() + (bundle / MANIFEST_NAME).read_bytes()
        key = hashlib.sha256(content).hexdigest()
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        found = self._run(bundle, asked)
        with self._lock:
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = found
        return found

    def _run(self, bundle: Path, asked: dict[str, Any]) -> Trial:
        with workspace(self._work_root) as folder:
            answer = ask_trial(
                folder,
                self._limits,
                {
                    **asked,
                    "bundle": str(_without_features(bundle, folder / "bundle")),
                    "state": str(folder / "server"),
                    "environments": str(self._environments.root),
                    "memory_bytes": self._limits.memory_bytes,
                    "start_seconds": _START_SECONDS,
                    "answer_seconds": _ANSWER_SECONDS,
                    "call_seconds": _CALL_SECONDS,
                    "batch_seconds": _BATCH_SECONDS,
                },
            )
        if not answer.ok:
            raise ModelBuildError(f"the bundle does not serve: {answer.reason}", answer.log)
        found = answer.content
        return Trial(
            answers=tuple(found["answers"]),
            same=bool(found["same"]),
            milliseconds=tuple(finite(value, "time") for value in found["milliseconds"]),
            pairs=tuple((one, other) for one, other in found["pairs"]),
            memory_bytes=int(finite(found["memory_bytes"], "memory")),
        )


def _without_features(bundle: Path, copy: Path) -> Path:
    """The bundle, or a copy of it that looks no features up: a server alone has no store, and rows come whole."""
    try:
        manifest = decode_manifest((bundle / MANIFEST_NAME).read_bytes())
        if manifest.features is None:
            return bundle
        shutil.copytree(bundle, copy)
        plain = msgspec.structs.replace(manifest, features=None)
        (copy / MANIFEST_NAME).write_bytes(encode_manifest(plain))
    except (OSError, BundleError) as error:
        raise ModelBuildError(f"the bundle cannot be read: {error}") from error
    return copy
