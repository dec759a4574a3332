"""FastAPI dependencies: every endpoint says which permission it needs and receives its unit of work."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar, cast

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import Depends, Request

from ml_platform.contracts.identity import Permission
from ml_platform.kit.errors import ForbiddenError, UnauthenticatedError
from ml_platform.kit.wiring import Components
from ml_platform.services.access.actor import Actor
from ml_platform.services.access.interfaces import Authenticator
from ml_platform.services.access.work import Work, WorkFactory

T = TypeVar("T")

SESSION_COOKIE = "mlops_session"
CSRF_HEADER = "x-mlops-csrf"
BACKGROUND_HEADER = "x-mlops-background"
TEAM_HEADER = "mlops-team"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


async def components_of(request: Request) -> Components:
    """The parts of the running process.

    Asynchronous, as `get` below, since FastAPI runs other dependencies in a thread each.
    """
    return cast("Components", request.app.state.components)


ComponentsOf = Annotated[Components, Depends(components_of)]


def provided(interface: type[T]) -> Any:
    """What stands behind an interface, as a dependency of an endpoint: `store: Annotated[Store, ...]`."""

    async def get(components: ComponentsOf) -> T:
        return components.get(interface)

    return Depends(get)


def requires(permission: Permission, *, operation: str | None = None) -> Any:
    """A dependency that authenticates, authorises, and opens the request's unit of work.

    The operation `ENTER` is for endpoints whose service asks again, when it knows what it is about.

    The transaction commits before the answer is sent, so that no caller is told of a success that did
    not happen: a `Router` commits when the endpoint returns, and what an asynchronous one did, this does.
    """

    async def open_work(request: Request, components: ComponentsOf) -> AsyncIterator[Work]:
        actor: Actor | None = getattr(request.state, "actor", None)  # the gate has asked already
        if actor is None:
            actor = await to_thread.run_sync(authenticate, request, components)
        write = request.method not in _SAFE_METHODS
        work = components.get(WorkFactory).create(actor, write=write, request_id=request.state.request_id)
        work.idempotency_id = getattr(request.state, "idempotency_id", None)
        work.require(permission, operation=operation)
        try:
            yield work
            if not work.idle:
                await _at_once(work.commit)
        except BaseException:
            if not work.idle:
                await _at_once(work.rollback)
            raise
        finally:
            if not work.idle:
                await _at_once(work.close)

    open_work.permission = permission  # type: ignore[attr-defined] # read by the test of every route
    return Depends(open_work, scope="function")


async def _at_once(end: Callable[[], None]) -> None:
    """Ends a transaction in a thread that is never waited for, also for a caller who went away."""
    with CancelScope(shield=True):
        await to_thread.run_sync(end, limiter=CapacityLimiter(1))


def authenticate(request: Request, components: Components) -> Actor:
    """The actor of a request, by bearer token or by browser session; asked for once a request."""
    known: Actor | None = getattr(request.state, "actor", None)
    if known is not None:
        return known
    authenticator = components.get(Authenticator)
    team = request.headers.get(TEAM_HEADER)
    source = request.client.host if request.client else None
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError(
                "the Authorization header is not a bearer token",
                hint="send 'Authorization: Bearer <key>'; make a key with: mlops keys create",
            )
        actor = authenticator.authenticate(token.strip(), team=team, source=source)
    elif cookie := request.cookies.get(SESSION_COOKIE):
        if request.method not in _SAFE_METHODS and request.headers.get(CSRF_HEADER) != "1":
            raise ForbiddenError(f"a browser session must send the header {CSRF_HEADER}: 1 with every change")
        background = request.headers.get(BACKGROUND_HEADER) == "1"
        actor = authenticator.authenticate_session(cookie, team=team, source=source, background=background)
    else:
        raise UnauthenticatedError(
            "this needs a key",
            hint="send 'Authorization: Bearer <key>'; `mlops up` and `mlops login` write one to the profile",
        )
    request.state.actor = actor
    return actor
