"""From a revision's bundle to its runtime: first what its requests are decoded by, then the model itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ml_platform.contracts.bundles import ONNX_FILE, PYFUNC_REQUIREMENTS, BundleError, BundleManifest
from ml_platform.inference.bundlestore import BundleStore
from ml_platform.inference.decoding import InputColumn
from ml_platform.inference.runtimes.base import Runtime
from ml_platform.inference.runtimes.breaker import Health
from ml_platform.inference.runtimes.memory import model_budget
from ml_platform.inference.runtimes.onnx import OnnxRuntime, input_columns
from ml_platform.inference.runtimes.onnx_graph import graph_inputs
from ml_platform.inference.runtimes.pyfunc import PyfuncRuntime, pyfunc_columns
from ml_platform.inference.runtimes.pyfunc_process import PyfuncLimits
from ml_platform.inference.settings import Settings
from ml_platform.kit.environments import EnvironmentCache, EnvironmentFailedError

_MIB = 1024 * 1024
_PYFUNC_BYTES = 150 * _MIB


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bundle that stands on this server's disk, and what can be said of its model before it is loaded.

    `size` is that of the bundle's files in bytes, `estimate` what the model may take in memory.
    """

    manifest: BundleManifest
    columns: tuple[InputColumn, ...]
    size: int
    estimate: int


class RuntimeLoader:
    """Loads runtimes: all that is slow happens on its own threads."""

    def __init__(self, settings: Settings, bundles: BundleStore) -> None:
        self._settings = settings
        self._bundles = bundles
        self._environments = EnvironmentCache(settings.environments)
        # One loads at a time: a worker that is serving must not give a second core away for it.
        self._loads = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._fetches = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._builds = ThreadPoolExecutor(2, thread_name_prefix="environment")
        self._apart = ThreadPoolExecutor(1, thread_name_prefix="onnx")

    async def prepare(self, uri: str, digest: str) -> Prepared:
        """Brings the bundle to this server's disk; raises BundleError with the reason."""
        return await asyncio.get_running_loop().run_in_executor(self._fetches, self._prepare, uri, digest)

    async def load(self, uri: str, digest: str, health: Health) -> tuple[Runtime, float]:
        """The runtime, ready to predict, and the seconds that it took; raises BundleError with the reason.

        Every file is checked against its digest first, each time. Waiting for others is no part of the time.
        `health` is kept up to date by a runtime with processes of its own.
        """
        loop = asyncio.get_running_loop()
        directory, manifest, checked = await loop.run_in_executor(self._loads, self._check, uri, digest)
        if manifest.runtime == "onnx":
            onnx, opened = await loop.run_in_executor(self._loads, self._open_onnx, directory, manifest)
            return onnx, checked + opened
        started = time.perf_counter()
        isolated = await self._load_pyfunc(directory, manifest, health)
        return isolated, checked + time.perf_counter() - started

    def close(self) -> None:
        for executor in (self._fetches, self._loads, self._builds, self._apart):
            executor.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, uri: str, digest: str) -> Prepared:
        directory, manifest = self._bundles.fetch(uri, digest)
        try:
            columns = _columns(directory, manifest)
        except BundleError:  # the copy may be damaged: it is checked whole, and fetched anew when it is
            directory, manifest = self._bundles.load(uri, digest)
            columns = _columns(directory, manifest)
        size = sum((directory / name).stat().st_size for name in manifest.files)
        # Small graphs of trees take five times their file, large ones of weights little more than it. What
        # an isolated model takes is mostly its libraries. Once it was loaded, it is known.
        overhead = min(4 * size, 4 * _MIB) if manifest.runtime == "onnx" else _PYFUNC_BYTES
        return Prepared(manifest, columns, size, size + overhead)

    def _check(self, uri: str, digest: str) -> tuple[Path, BundleManifest, float]:
        started = time.perf_counter()
        directory, manifest = self._bundles.load(uri, digest)
        return directory, manifest, time.perf_counter() - started

    def _open_onnx(self, directory: Path, manifest: BundleManifest) -> tuple[OnnxRuntime, float]:
        started = time.perf_counter()
        size = sum((directory / name).stat().st_size for name in manifest.files)
        return OnnxRuntime(directory, manifest, self._apart, size), time.perf_counter() - started

    async def _load_pyfunc(self, directory: Path, manifest: BundleManifest, health: Health) -> PyfuncRuntime:
        settings = self._settings
        python = Path(settings.pyfunc_python)
        held = contextlib.ExitStack()
        if not settings.pyfunc_python:
            requirements = (directory / PYFUNC_REQUIREMENTS).read_text()
            loop = asyncio.get_running_loop()
            try:
                python = await loop.run_in_executor(self._builds, self._environments.ensure, requirements)
            except EnvironmentFailedError as error:
                raise BundleError(f"{PYFUNC_REQUIREMENTS}: {error}") from error
            held.enter_context(self._environments.hold(python))
        runtime = PyfuncRuntime(directory, manifest, python, pyfunc_limits(settings), held, health)
        try:
            await runtime.start()
        except BaseException:
            await runtime.close()
            raise
        return runtime


def pyfunc_limits(settings: Settings) -> PyfuncLimits:
    """An isolated model may take what the settings say, but never more than all models of a worker may."""
    given = (settings.pyfunc_memory_bytes, model_budget(settings.memory_bytes, settings.worker_count))
    return PyfuncLimits(
        start_timeout=settings.pyfunc_start_timeout,
        request_timeout=settings.request_timeout,
        memory_bytes=min((limit for limit in given if limit), default=0),
        data_bytes=settings.pyfunc_memory_bytes,
        processes=settings.pyfunc_processes,
        answer_bytes=settings.pyfunc_answer_bytes,
        nice=settings.pyfunc_nice,
    )


def _columns(directory: Path, manifest: BundleManifest) -> tuple[InputColumn, ...]:
    if manifest.runtime == "onnx":
        return input_columns(manifest, graph_inputs(directory / ONNX_FILE))
    return pyfunc_columns(manifest)
