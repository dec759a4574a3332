"""From a revision's bundle to its runtime."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ml_platform.contracts.bundles import PYFUNC_REQUIREMENTS, BundleError, BundleManifest
from ml_platform.inference.bundlestore import BundleStore
from ml_platform.inference.runtimes.base import Runtime
from ml_platform.inference.runtimes.onnx import OnnxRuntime
from ml_platform.inference.runtimes.pyfunc import PyfuncLimits, PyfuncRuntime
from ml_platform.inference.settings import Settings
from ml_platform.kit.environments import EnvironmentCache, EnvironmentFailedError


class RuntimeLoader:
    """Loads runtimes: all that is slow happens on its own threads."""

    def __init__(self, settings: Settings, bundles: BundleStore) -> None:
        self._settings = settings
        self._bundles = bundles
        self._environments = EnvironmentCache(settings.environments)
        # One loads at a time: a worker that is serving must not give a second core away for it.
        self._loads = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._builds = ThreadPoolExecutor(2, thread_name_prefix="environment")
        self._apart = ThreadPoolExecutor(1, thread_name_prefix="onnx")

    async def load(self, uri: str, digest: str) -> tuple[Runtime, BundleManifest]:
        """The runtime, ready to predict, and its manifest; raises BundleError with the reason."""
        loop = asyncio.get_running_loop()
        directory, manifest = await loop.run_in_executor(self._loads, self._bundles.load, uri, digest)
        if manifest.runtime == "onnx":
            onnx = await loop.run_in_executor(self._loads, OnnxRuntime, directory, manifest, self._apart)
            return onnx, manifest
        return await self._load_pyfunc(directory, manifest), manifest

    def close(self) -> None:
        for executor in (self._loads, self._builds, self._apart):
            executor.shutdown(wait=False, cancel_futures=True)

    async def _load_pyfunc(self, directory: Path, manifest: BundleManifest) -> PyfuncRuntime:
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
        limits = PyfuncLimits(
            start_timeout=settings.pyfunc_start_timeout,
            request_timeout=settings.request_timeout,
            memory_bytes=settings.pyfunc_memory_bytes,
        )
        runtime = PyfuncRuntime(directory, manifest, python, limits, held)
        try:
            await runtime.start()
        except BaseException:
            await runtime.close()
            raise
        return runtime
