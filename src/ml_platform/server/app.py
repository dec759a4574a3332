"""The control plane as an ASGI application: every slice's routes over the parts that settings chose."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import compile_path

from ml_platform.kit.db import Database
from ml_platform.server import console, docs, feast_server, health, problems
from ml_platform.server.bodies import JsonBodyMiddleware
from ml_platform.server.compose import compose
from ml_platform.server.gate import Gate
from ml_platform.server.idempotency import IdempotencyMiddleware
from ml_platform.server.metrics import ApiMetrics
from ml_platform.server.middleware import RequestMiddleware
from ml_platform.server.native_errors import NativeErrors
from ml_platform.server.routes import ROUTERS
from ml_platform.server.runtime import Runtime
from ml_platform.server.settings import Settings
from ml_platform.services.identity import session_router

_DESCRIPTION = """From data to a governed, monitored production endpoint.

Send `Authorization: Bearer <key>`. Errors are problems (RFC 9457) with a stable `code`. Lists are paged by
`cursor`. A POST with an `Idempotency-Key` is carried out once, however often it is sent.
"""


def upload_paths() -> list[re.Pattern[str]]:
    """The routes that take a file as their body: they describe it themselves."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return [compile_path(route.path)[0] for route in routes if route.openapi_extra]


def create_app(settings: Settings, runtime: Runtime | None = None) -> FastAPI:
    """Builds the application; nothing starts before its lifespan does."""
    parts = runtime or compose(settings)
    release = version("ml-platform")
    metrics = parts.components.provide(ApiMetrics, ApiMetrics(release))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.api.threads
        await anyio.to_thread.run_sync(parts.start)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(parts.stop)

    app = docs.DescribedApp(
        title="ML Platform",
        version=release,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.components = parts.components
    app.state.console = console.Console()
    problems.install(app)
    for router in (*ROUTERS, feast_server.router, health.router, docs.router, console.router, session_router):
        app.router.routes.extend(router.routes)
    for path, mounted in parts.mounts:
        app.mount(path, mounted)
    app.add_middleware(IdempotencyMiddleware, database=parts.components.get(Database))
    app.add_middleware(JsonBodyMiddleware)
    app.add_middleware(Gate, components=parts.components)
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        uploads=upload_paths(),
        max_body=settings.api.max_body_bytes,
        max_json=settings.api.max_json_bytes,
    )
    app.add_middleware(NativeErrors, prefixes=[f"{feast_server.PREFIX}/"])
    return app
