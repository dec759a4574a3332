"""Training jobs."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ml_platform.contracts.jobs import Job as JobData
from ml_platform.contracts.jobs import JobLog, JobStatus, JobSubmitted
from ml_platform.sdk.errors import JobFailedError, WaitTimeoutError
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.transport import Transport, at

_TAIL_LINES = 25
Progress = Callable[[str], None]


def report_to_terminal(text: str) -> None:
    """Progress on stderr, when a person looks at it."""
    if sys.stderr.isatty():
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class Job(PlatformObject[JobData]):
    """A script that runs once, somewhere else. Its properties are those of the last look at it."""

    _shown = ("job_id", "status", "model_id", "metrics", "reason")

    @property
    def job_id(self) -> str:
        return self._data.job_id

    @property
    def status(self) -> str:
        """The state now, asked from the server until it has ended."""
        if not self._data.status.ended:
            self.refresh()
        return self._data.status.value

    @property
    def metrics(self) -> dict[str, float | None]:
        """What the script wrote to `metrics.json`."""
        if not self._data.status.ended:
            self.refresh()
        return dict(self._data.metrics)

    @property
    def model_id(self) -> str | None:
        """The version that the job registered, if it passed its gate."""
        return self._data.model_id

    @property
    def reason(self) -> str | None:
        return self._data.reason

    def refresh(self) -> "Job":
        self._data = self._transport.get(at("jobs", self.job_id), JobData)
        return self

    def wait(
        self, timeout: float | None = None, *, poll: float = 0.5, progress: Progress = report_to_terminal
    ) -> "Job":
        """Waits until the job has ended.

        Args:
            timeout: seconds; default: as long as it takes.
            poll: seconds between two looks.
            progress: is told every new state.

        Raises:
            JobFailedError: it did not succeed; the message holds the tail of its log.
            WaitTimeoutError: it is still under way after `timeout`.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        seen: JobStatus | None = None
        while True:
            if self.refresh().data.status is not seen:
                seen = self._data.status
                progress(f"job {self.job_id}: {seen.value}")
            if seen.ended:
                break
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"job {self.job_id} is still {seen.value} after {timeout} s",
                    hint="wait again, or end it with job.cancel()",
                )
            time.sleep(poll)
        if seen is not JobStatus.SUCCEEDED:
            raise self._failure()
        return self

    def _failure(self) -> JobFailedError:
        tail = "\n".join(self.logs().splitlines()[-_TAIL_LINES:])
        detail = f"job {self.job_id} {self._data.status.value}: {self._data.reason or 'no reason was given'}"
        return JobFailedError(
            f"{detail}\n--- end of its log ---\n{tail}" if tail else detail,
            code=self._data.code,
            hint=self._data.hint,
        )

    def logs(self, *, follow: bool = False) -> Any:
        """The log so far; with `follow`, an iterator over pieces of it as they are written."""
        return self._follow() if follow else "".join(self._pieces())

    def _piece(self, offset: int) -> JobLog:
        return self._transport.get(at("jobs", self.job_id, "logs"), JobLog, {"offset": offset})

    def _pieces(self, offset: int = 0) -> Iterator[str]:
        while True:
            piece = self._piece(offset)
            if piece.text:
                yield piece.text
            if piece.next_offset == offset:
                return
            offset = piece.next_offset

    def _follow(self, poll: float = 0.5) -> Iterator[str]:
        offset = 0
        while True:
            piece = self._piece(offset)
            if piece.text:
                yield piece.text
            if piece.eof:
                return
            if piece.next_offset == offset:
                time.sleep(poll)
            offset = piece.next_offset

    def cancel(self) -> "Job":
        """Ends the job.

        Raises:
            ConflictError: it has ended already.
        """
        self._data = self._transport.post(at("jobs", self.job_id, "cancel"), JobData)
        return self

    def retry(self) -> "Job":
        """Submits the same again, as a new job."""
        submitted = self._transport.post(at("jobs", self.job_id, "retry"), JobSubmitted)
        return Jobs(self._transport).get(submitted.job_id)


class Jobs:
    """`platform.jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, job_id: str) -> Job:
        return Job(self._transport, self._transport.get(at("jobs", job_id), JobData))

    def list(
        self, *, experiment: str | None = None, status: str | None = None, limit: int | None = 50
    ) -> list[Job]:
        """Newest first; `experiment` is an id or a name."""
        params = {"experiment": experiment, "status": status}
        found = self._transport.pages("/jobs", JobData, params, limit)
        return [Job(self._transport, item) for item in found]
