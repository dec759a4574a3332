"""A router whose endpoints run whole, transaction included, in one turn of one thread.

FastAPI runs an endpoint in one thread, prepares its answer in another and leaves dependencies in a third.
A transaction that stays open in between waits for threads, which may all be waiting for that very
transaction: SQLite has one write lock, a pool has so many connections.
"""

from collections.abc import Callable
from enum import Enum
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends

from ml_platform.services.access.parameters import only_known_parameters
from ml_platform.services.access.work import Work

API = "/api/v1"


class Router(APIRouter):
    """`APIRouter` for endpoints that take a `Work`; asynchronous ones are left as they are."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().add_api_route(
            path, endpoint if iscoroutinefunction(endpoint) else _whole(endpoint), **options
        )


class ApiRouter(Router):
    """A slice's routes below `/api/v1`, at their whole paths: included routers are searched over and over."""

    def __init__(self, *, prefix: str = "", tags: list[str | Enum] | None = None) -> None:
        super().__init__(prefix=API + prefix, tags=tags, dependencies=[Depends(only_known_parameters)])


def _whole(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    def run(arguments: dict[str, Any]) -> Any:
        works = [value for value in arguments.values() if isinstance(value, Work)]
        try:
            result = endpoint(**arguments)
            for work in works:
                work.commit()
        except BaseException:
            for work in works:
                work.rollback()
            raise
        finally:
            for work in works:
                work.close()
        return result

    @wraps(endpoint)
    async def in_a_thread(**arguments: Any) -> Any:
        return await to_thread.run_sync(run, arguments)

    return in_a_thread
