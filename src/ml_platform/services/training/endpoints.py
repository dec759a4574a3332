"""Routes of sources and training jobs."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import Path as PathParam
from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from ml_platform.contracts.base import Name, Page
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.jobs import Job, JobLog, JobStatus, JobSubmitted, Source, TrainRequest
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.errors import BadInputError, TooLargeError
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.kit.wiring import Components
from ml_platform.services.access import ApiRouter, ComponentsOf, Work, WorkFactory, provided, requires
from ml_platform.services.experiments import ExperimentRef, Tracking
from ml_platform.services.training.interfaces import InputSource, JobEngine, LogPiece
from ml_platform.services.training.service import TrainingService
from ml_platform.services.training.settings import TrainingSettings
from ml_platform.services.training.sources import SourceStore, source_of

router = ApiRouter(tags=["jobs"])

JobId = Annotated[str, PathParam(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
Offset = Annotated[int, Query(ge=0, le=2**50, description="Byte from which on to read")]
Reading = Annotated[Work, requires(Permission.READ)]
Training = Annotated[Work, requires(Permission.TRAIN_MODEL)]

_ARCHIVE_TYPES = frozenset(
    {"application/gzip", "application/x-gzip", "application/x-tar+gzip", "application/octet-stream"}
)
_ARCHIVE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_LOG_BYTES = 256 * 1024
_FOLLOW_SECONDS = 0.3


def _service(work: Work, components: Components) -> TrainingService:
    return TrainingService(
        work,
        settings=components.get(TrainingSettings),
        tracking=components.get(Tracking),
        sources=components.get(SourceStore),
        inputs=components.get(InputSource),
    )


@router.post("/sources", status_code=201, openapi_extra=_ARCHIVE_BODY)
async def upload_source(
    request: Request, work: Training, sources: Annotated[SourceStore, provided(SourceStore)]
) -> Source:
    """Takes a folder of code as tar.gz. The same content again gives the same source."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _ARCHIVE_TYPES:
        error = BadInputError.of("content-type", "must be application/gzip: send the folder as tar.gz")
        error.status, error.code = 415, ErrorCode.UNSUPPORTED_MEDIA_TYPE
        raise error
    with await run_in_threadpool(sources.new_folder) as folder:
        archive = Path(folder) / "source.tar.gz"
        await _receive(request, archive, sources.max_bytes)
        row = await run_in_threadpool(sources.add_archive, work, archive)
    return source_of(row)


@router.post("/experiments/{experiment}/train", status_code=202)
def train(
    experiment: ExperimentRef, body: TrainRequest, work: Training, components: ComponentsOf
) -> JobSubmitted:
    """Queues a script; `GET /jobs/{job_id}` says how it goes."""
    return _service(work, components).submit(experiment, body)


@router.get("/jobs")
def list_jobs(
    work: Reading,
    components: ComponentsOf,
    experiment: Annotated[Name | None, Query(description="Id or name")] = None,
    status: JobStatus | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Job]:
    """Newest first."""
    before = text_cursor(cursor) if cursor else None
    rows = _service(work, components).list_jobs(
        experiment=experiment, status=status, before=before, limit=limit + 1
    )
    items, following = cut(rows, limit, lambda job: job.job_id)
    return Page(items=items, next_cursor=following)


@router.get("/jobs/{job_id}")
def get_job(job_id: JobId, work: Reading, components: ComponentsOf) -> Job:
    return _service(work, components).get(job_id)


@router.get(
    "/jobs/{job_id}/logs",
    response_model=JobLog,
    responses={200: {"content": {"text/plain": {}}, "description": "A piece, or with `follow` the stream"}},
)
def read_logs(
    job_id: JobId,
    work: Reading,
    components: ComponentsOf,
    engine: Annotated[JobEngine, provided(JobEngine)],
    offset: Offset = 0,
    follow: Annotated[bool, Query(description="Stream plain text until the job has ended")] = False,
) -> JobLog | StreamingResponse:
    """A piece of the log as JSON, or with `follow=true` all of it as it comes, as text."""
    service = _service(work, components)
    ended = service.get(job_id).status.ended
    if follow:
        piece_at = _log_reader(components, engine, work, job_id)
        return StreamingResponse(_follow(piece_at, offset), media_type="text/plain; charset=utf-8")
    piece = engine.read_log(job_id, offset, _LOG_BYTES) or LogPiece("", offset, ended)
    return JobLog(text=piece.text, next_offset=piece.next_offset, eof=piece.eof)


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: JobId, work: Training, components: ComponentsOf) -> Job:
    """Asks the job to stop; it is `cancelled` when its processes have ended."""
    return _service(work, components).cancel(job_id)


@router.post("/jobs/{job_id}/retry", status_code=202)
def retry_job(job_id: JobId, work: Training, components: ComponentsOf) -> JobSubmitted:
    """Submits an ended job again: the same source, inputs and configuration."""
    return _service(work, components).retry(job_id)


async def _receive(request: Request, target: Path, limit: int) -> None:
    size = 0
    async with await anyio.open_file(target, "xb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLargeError(
                    f"the archive is larger than {limit} bytes",
                    hint="leave data out of the source folder: declare it as an input",
                )
            await file.write(chunk)
    if size == 0:
        raise BadInputError("the body is empty", hint="send the folder as tar.gz")


def _log_reader(
    components: Components, engine: JobEngine, work: Work, job_id: str
) -> Callable[[int], LogPiece]:
    """Reads on after the request's own transaction is over; a job without any log ends with the job."""
    factory, actor = components.get(WorkFactory), work.actor

    def read(offset: int) -> LogPiece:
        piece = engine.read_log(job_id, offset, _LOG_BYTES)
        if piece is not None:
            return piece
        with factory.begin(actor, write=False) as look:
            ended = _service(look, components).get(job_id).status.ended
        return LogPiece("", offset, ended)

    return read


async def _follow(piece_at: Callable[[int], LogPiece], offset: int) -> AsyncIterator[str]:
    while True:
        piece = await run_in_threadpool(piece_at, offset)
        if piece.text:
            yield piece.text
        if piece.eof:
            return
        if piece.next_offset == offset:
            await anyio.sleep(_FOLLOW_SECONDS)
        offset = piece.next_offset
