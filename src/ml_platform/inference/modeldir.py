"""The directory of bundles that a server without a control plane serves, watched while it runs.

It is looked at now and then. A bundle that was added or replaced is copied and checked whole before it is named in the
snapshot, and the one before stands by until every worker has loaded it; so whatever is wrong with a new one, the old
one goes on. A bundle goes when its directory has gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ml_platform.contracts.bundles import MANIFEST_NAME, BundleError, digest_of
from ml_platform.contracts.serving import (
    InferenceStatus,
    ServingEndpoint,
    ServingKey,
    Snapshot,
    check_snapshot,
)
from ml_platform.inference.bundlestore import BundleStore, verify
from ml_platform.inference.settings import Settings
from ml_platform.inference.standalone import endpoint_of, keys_of, revision_id_of, snapshot_of_directory

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 30.0
_LOOKS_WITHOUT = 2
"""So often a directory must be missed: between a `rm -r` and a `mv` there is none."""


@dataclass(slots=True)
class _Model:
    """`wanted` is the digest that is to be served, `proven` the last one that was ready in every worker."""

    path: Path
    wanted: str
    proven: str | None = None
    missed: int = 0


@dataclass(slots=True)
class _Broken:
    """A digest that cannot be taken up; looked at again after a pause that doubles, since a copy may go on."""

    digest: str
    reason: str
    again: float
    pause: float


class ModelDirectory:
    """What stands in `model_dir`, as a snapshot. Slow: `look` is called away from the event loop.

    `problems` say what of it is not served, and why.
    """

    def __init__(self, settings: Settings, bundles: BundleStore) -> None:
        self._settings = settings
        self._bundles = bundles
        self._root = Path(settings.model_dir).expanduser().absolute()
        self._is_bundle = (self._root / MANIFEST_NAME).is_file()
        self._models: dict[str, _Model] = {}
        self._broken: dict[str, _Broken] = {}
        self._snapshot: Snapshot | None = None
        self._keys: tuple[ServingKey, ...] = ()
        self.problems: tuple[str, ...] = ()

    def first(self) -> Snapshot:
        """The snapshot to start with; raises ValueError and OSError when there is nothing to serve."""
        snapshot = snapshot_of_directory(self._settings)
        for endpoint in snapshot.endpoints:
            (revision,) = endpoint.revisions
            self._models[endpoint.name] = _Model(Path(revision.bundle_uri), revision.bundle_digest)
        self._keys = snapshot.keys
        self._snapshot = snapshot
        return snapshot

    def look(self, status: InferenceStatus) -> Snapshot | None:
        """The snapshot if it is another one than before; `status` is that of the server."""
        assert self._snapshot is not None
        problems: dict[str, str] = {}
        self._prove(status, problems)
        try:
            found = dict(self._found())
        except OSError as error:
            problems["model_dir"] = f"it cannot be read: {error.strerror}"
        else:
            self._forget(found)
            for name, path in found.items():
                try:
                    self._take_up(name, path)
                except (BundleError, OSError, ValueError) as error:
                    problems[name] = str(error)
        try:
            self._keys = keys_of(self._settings)
        except (OSError, ValueError) as error:
            problems["keys_file"] = f"the keys of before go on: {error}"
        self._tell(problems)
        endpoints = tuple(self._endpoint(name, model) for name, model in sorted(self._models.items()))
        if (endpoints, self._keys) == (self._snapshot.endpoints, self._snapshot.keys):
            return None
        version = max(self._snapshot.version + 1, time.time_ns() // 1_000_000)
        self._snapshot = Snapshot(
            version=version,
            keys=self._keys,
            endpoints=endpoints,
            feature_stores=self._snapshot.feature_stores,
        )
        return self._snapshot

    def _found(self) -> Iterator[tuple[str, Path]]:
        """The directories that hold a bundle, or are to; those whose names begin with a dot are being written."""
        if self._is_bundle:
            if not self._root.is_dir():
                raise NotADirectoryError(20, "there is no such directory")
            yield self._settings.model_name or self._root.name, self._root
            return
        for path in sorted(self._root.iterdir()):
            known = path.name in self._models or (path / MANIFEST_NAME).is_file()
            if known and path.is_dir() and not path.name.startswith("."):
                yield path.name, path

    def _forget(self, found: dict[str, Path]) -> None:
        self._broken = {name: broken for name, broken in self._broken.items() if name in found}
        for name, model in list(self._models.items()):
            model.missed = 0 if name in found else model.missed + 1
            if model.missed >= _LOOKS_WITHOUT:
                _log.info("model_dir: '%s' is gone", name)
                del self._models[name]

    def _take_up(self, name: str, path: Path) -> None:
        """Makes the bundle that stands there the wanted one; raises when it cannot be."""
        model = self._models.get(name)
        try:
            digest = digest_of((path / MANIFEST_NAME).read_bytes())
        except OSError as error:
            raise BundleError(f"{MANIFEST_NAME}: cannot be read: {error.strerror}") from None
        if model is not None and digest == model.wanted:
            self._broken.pop(name, None)
            return
        broken = self._broken.get(name)
        if broken is not None and broken.digest == digest and time.monotonic() < broken.again:
            raise BundleError(broken.reason)
        try:
            self._check(name, path, digest)
        except (BundleError, OSError, ValueError) as error:
            pause = min(broken.pause * 2, _LONGEST_PAUSE) if broken and broken.digest == digest else 1.0
            self._broken[name] = _Broken(digest, str(error), time.monotonic() + pause, pause)
            raise
        self._broken.pop(name, None)
        _log.info("model_dir: '%s' is %s now", name, digest[:12])
        if model is None:
            self._models[name] = _Model(path, digest)
        else:
            model.proven = (
                model.proven or model.wanted
            )  # it was not looked at for long enough, but there it is
            model.path, model.wanted = path, digest

    def _check(self, name: str, path: Path, digest: str) -> None:
        """Everything that can be known of a bundle before it is loaded; leaves a copy of it in the cache."""
        expected = self._settings.bundle_digest
        if expected and digest != expected:
            raise BundleError(f"its digest is {digest}, not bundle_digest")
        check_snapshot(Snapshot(version=0, keys=(), endpoints=(endpoint_of(name, path, digest),)))
        verify(path, digest)  # before it is copied: of one that is still being written, little is read
        self._bundles.load(str(path), digest)

    def _prove(self, status: InferenceStatus, problems: dict[str, str]) -> None:
        """Lets the bundle before go once the wanted one is loaded everywhere."""
        for name, model in self._models.items():
            if model.proven == model.wanted:
                continue
            state, reason = status.revision_state(revision_id_of(name, model.wanted))
            if state == "ready":
                model.proven = model.wanted
            elif state == "failed":
                problems[name] = f"{model.wanted[:12]} cannot be loaded: {reason}"

    def _endpoint(self, name: str, model: _Model) -> ServingEndpoint:
        before = model.proven if model.proven != model.wanted else None
        return endpoint_of(name, model.path, model.wanted, before)

    def _tell(self, problems: dict[str, str]) -> None:
        told = []
        for name, problem in problems.items():
            model = self._models.get(name)
            serving = model.proven if model is not None else None
            told.append(f"{name}: {problem}" + (f"; {serving[:12]} goes on" if serving else ""))
        for text in told:
            if text not in self.problems:
                _log.warning("model_dir: %s", text)
        self.problems = tuple(told)
