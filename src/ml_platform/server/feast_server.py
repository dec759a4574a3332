"""Feast's feature server over the control plane, below `/feast`: reading, pushing and materialising.

Bodies and answers are those of the server that comes with Feast; fields that it passes over are passed over
here. A feature view is a push source under its own name. Refusals are `{"detail": ...}`; what Feast's client
has an exception of its own for, when it reads, comes as that.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import anyio
from anyio import to_thread
from fastapi import HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StringConstraints

from ml_platform.contracts.datasets import Materialization
from ml_platform.contracts.identity import Permission
from ml_platform.inference.errors import ServingError
from ml_platform.inference.featurestores.feastserver import exception_of
from ml_platform.kit.db import Database
from ml_platform.kit.errors import AppError, BadInputError, UnavailableError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.feast_reads import FeastReads
from ml_platform.server.media import is_json
from ml_platform.server.online_stores import OnlineStores
from ml_platform.services.access import Actor, ComponentsOf, Router, Work, WorkFactory, requires
from ml_platform.services.datasets import DatasetStore
from ml_platform.services.features import FeatureEngine, FeaturePushes, FeatureService

PREFIX: Final = "/feast"
_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_JSON: Final = "application/json"
_FIRST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

router = Router(prefix=PREFIX, include_in_schema=False)

ReadData = Annotated[Work, requires(Permission.READ_DATA)]
WriteData = Annotated[Work, requires(Permission.WRITE_DATA)]
Train = Annotated[Work, requires(Permission.TRAIN_MODEL)]
ViewName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Columns = Annotated[dict[str, list[Any]], Field(max_length=2_010)]


class WriteToOnlineStore(BaseModel):
    feature_view_name: ViewName
    df: Columns


class Push(BaseModel):
    push_source_name: ViewName
    df: Columns
    to: str = Field(default="online", max_length=64)


class MaterializeIncremental(BaseModel):
    end_ts: Annotated[str, StringConstraints(max_length=64)]
    feature_views: list[ViewName] | None = Field(default=None, min_length=1, max_length=1_000)
    version: str | None = Field(default=None, max_length=64)


class Materialize(BaseModel):
    start_ts: str | None = Field(default=None, max_length=64)
    end_ts: str | None = Field(default=None, max_length=64)
    feature_views: list[ViewName] | None = Field(default=None, min_length=1, max_length=1_000)
    disable_event_timestamp: bool = False
    version: str | None = Field(default=None, max_length=64)


@router.get("/health")
def health(components: ComponentsOf) -> Response:
    """Nothing, and 200, while the registry's database answers."""
    components.get(Database).ping()
    return Response()


@router.post("/get-online-features")
async def get_online_features(request: Request, work: ReadData, components: ComponentsOf) -> Response:
    body = await request.body()
    if not is_json(request.headers):
        raise HTTPException(415, "content-type: application/json is needed")
    actor = work.actor

    def find() -> Any:
        with components.get(Database).read() as session:
            return components.get(OnlineStores).of_team(session, actor.team_id, actor.team_name)

    store = await to_thread.run_sync(find)
    try:
        return Response(await components.get(FeastReads).answer(body, store), media_type=_JSON)
    except ServingError as error:
        headers = {"retry-after": str(error.retry_after)} if error.retry_after else None
        status = 422 if error.status == 400 else error.status  # as every other route here says it
        known = exception_of(error)
        if known is not None:
            return Response(known, status_code=status, media_type=_JSON, headers=headers)
        return JSONResponse({"detail": str(error)}, status_code=status, headers=headers)


@router.post("/push")
def push(body: Push, work: WriteData, components: ComponentsOf) -> Response:
    if body.to not in ("online", "offline", "online_and_offline"):
        raise BadInputError.of("to", f"{body.to!r} is not one of 'online', 'offline', 'online_and_offline'")
    if body.to != "online":
        raise BadInputError.of(
            "to",
            f"{body.to!r} is not possible: the history of a feature view is a version of a dataset",
            hint="push to 'online', and upload the rows as the dataset's next version",
        )
    FeaturePushes(work, components.get(FeatureEngine)).push(body.push_source_name, body.df)
    return Response()


@router.post("/write-to-online-store")
def write_to_online_store(body: WriteToOnlineStore, work: WriteData, components: ComponentsOf) -> None:
    FeaturePushes(work, components.get(FeatureEngine)).push(body.feature_view_name, body.df)


Async = Annotated[bool, Query(alias="async")]


@router.post("/materialize", response_model=None)
async def materialize(
    body: Materialize, work: Train, components: ComponentsOf, later: Async = False
) -> Response:
    start = end = None
    if not body.disable_event_timestamp:
        start, end = _moment("start_ts", body.start_ts), _moment("end_ts", body.end_ts)
        if start >= end:
            raise BadInputError.of("start_ts", "must be before end_ts")
    _refuse_version(body.version)
    return await _Materializing(components, work.actor).run(body.feature_views, start, end, later)


@router.post("/materialize-incremental", response_model=None)
async def materialize_incremental(
    body: MaterializeIncremental, work: Train, components: ComponentsOf, later: Async = False
) -> Response:
    """Everything that was known at the end: a repetition writes the same again."""
    _refuse_version(body.version)
    end = _moment("end_ts", body.end_ts)
    return await _Materializing(components, work.actor).run(body.feature_views, None, end, later)


class _Materializing:
    """Starts the durable workflows of some views and waits for them."""

    def __init__(self, components: ComponentsOf, actor: Actor) -> None:
        self._components = components
        self._actor = actor

    async def run(
        self, names: list[str] | None, start: datetime | None, end: datetime | None, later: bool
    ) -> Response:
        begun = await to_thread.run_sync(self._begin, names, start, end)
        if later:
            body = {"status": "accepted", "feature_views": [one.feature_view for one in begun]}
            return JSONResponse(body, status_code=202)
        until = time.monotonic() + _WAIT_SECONDS
        open_ids = [one.materialization_id for one in begun]
        while open_ids:
            if time.monotonic() > until:
                raise UnavailableError(
                    f"materialising is still under way after {_WAIT_SECONDS:g} seconds and goes on",
                    hint=f"see how it ends: GET /api/v1/materializations/{open_ids[0]}",
                )
            await anyio.sleep(_POLL_SECONDS)
            states = await to_thread.run_sync(self._states, open_ids)
            failed = [state for state in states if state.status == "failed"]
            if failed:
                raise _MaterializationFailedError(
                    f"materialising {failed[0].feature_view!r} failed: {failed[0].reason}"
                )
            open_ids = [state.materialization_id for state in states if state.finished_at is None]
        return Response(b"null", media_type=_JSON)

    def _begin(
        self, names: list[str] | None, start: datetime | None, end: datetime | None
    ) -> list[Materialization]:
        wanted = list(dict.fromkeys(names)) if names is not None else None
        with self._components.get(WorkFactory).begin(self._actor) as work:
            return self._service(work).submit_materializations(wanted, start, end)

    def _states(self, ids: Sequence[str]) -> list[Materialization]:
        with self._components.get(WorkFactory).begin(self._actor, write=False) as work:
            service = self._service(work)
            return [service.materialization(row_id) for row_id in ids]

    def _service(self, work: Work) -> FeatureService:
        get = self._components.get
        return FeatureService(work, get(FeatureEngine), get(DatasetStore), get(ObjectStorage))


class _MaterializationFailedError(AppError):
    """The data do not fit the view, say: as with Feast's server, a failure of the server."""

    status = 500


def _moment(field: str, text: str | None) -> datetime:
    """A time as Feast reads one: ISO 8601, without a zone UTC."""
    try:
        found = datetime.fromisoformat(text or "")
        moment = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInputError.of(field, "expected a time in ISO 8601, such as 2026-03-01T12:30:15Z") from None
    if not _FIRST <= moment < _END:
        raise BadInputError.of(field, "expected a time from 1970 to 2199")
    return moment


def _refuse_version(version: str | None) -> None:
    if version is not None:
        raise BadInputError.of("version", "feature views have no versions")
