"""The inference plane's desired state: built from rows, published by version, awaited without threads."""

import asyncio
import threading
import time
from collections.abc import Sequence

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.deployments import DeploymentStatus, RevisionStatus
from ml_platform.contracts.serving import (
    FeatureStore,
    ServingEndpoint,
    ServingKey,
    ServingRevision,
    Snapshot,
    Sticky,
    encode_snapshot,
)
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.db import Database
from ml_platform.services.deployments.featurepolicies import policy_of
from ml_platform.services.deployments.interfaces import FeatureStores, KeyRing
from ml_platform.services.deployments.repository import LOADED
from ml_platform.services.deployments.smoke_keys import SmokeKeys
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow, SnapshotVersionRow
from ml_platform.services.deployments.traffic import smoke_open

_log = structlog.get_logger(__name__)


class SnapshotBuilder:
    """Everything that the inference plane may serve, over all teams."""

    def __init__(
        self,
        keys: KeyRing,
        smoke_keys: SmokeKeys,
        stores: FeatureStores,
        clock: Clock = utc_now,
    ) -> None:
        self._keys = keys
        self._smoke_keys = smoke_keys
        self._stores = stores
        self._clock = clock

    def build(self, session: Session) -> Snapshot:
        """The version is read first: what changes meanwhile is published again under the next one."""
        version = current_version(session)
        deployments = {
            row.id: row
            for row in session.scalars(
                select(DeploymentRow).where(DeploymentRow.status != DeploymentStatus.RETIRED.value)
            )
        }
        query = select(RevisionRow).where(RevisionRow.status.in_(LOADED)).order_by(RevisionRow.id)
        revisions = [row for row in session.scalars(query) if row.deployment_id in deployments]
        return Snapshot(
            version=version,
            keys=tuple(self._all_keys(session, deployments, revisions)),
            endpoints=tuple(_endpoints(deployments, revisions)),
            feature_stores=_with_deployed(self._stores.feature_stores(session), deployments, revisions),
        )

    def _all_keys(
        self, session: Session, deployments: dict[str, DeploymentRow], revisions: Sequence[RevisionRow]
    ) -> list[ServingKey]:
        now = self._clock()
        smoke = [
            self._smoke_keys.key(row, deployments[row.deployment_id].team_name)
            for row in revisions
            if smoke_open(row, now)
        ]
        known = self._keys.serving_keys(session)
        rates = {key.team: key.team_requests_per_second for key in known}
        teams = sorted({deployments[row.deployment_id].team_name for row in revisions})
        own = [self._smoke_keys.team_key(team, rates.get(team)) for team in teams]
        return [self._smoke_keys.service_key(), *own, *smoke, *known]


def current_version(session: Session) -> int:
    """The version of the desired state; 0 before anything changed."""
    return session.scalars(select(SnapshotVersionRow.version).where(SnapshotVersionRow.id == 1)).first() or 0


def _endpoints(
    deployments: dict[str, DeploymentRow], revisions: Sequence[RevisionRow]
) -> list[ServingEndpoint]:
    by_deployment: dict[str, list[RevisionRow]] = {}
    for revision in revisions:
        by_deployment.setdefault(revision.deployment_id, []).append(revision)
    return [
        ServingEndpoint(
            team=deployments[deployment_id].team_name,
            environment=deployments[deployment_id].environment,
            name=deployments[deployment_id].name,
            deployment_id=deployment_id,
            sticky=_sticky(deployments[deployment_id]),
            revisions=tuple(
                ServingRevision(
                    revision_id=row.id,
                    model_name=row.model_name,
                    model_version=str(row.model_version),
                    weight=row.weight,
                    bundle_uri=row.bundle_uri,
                    bundle_digest=row.bundle_digest,
                    shadow=row.status == RevisionStatus.SHADOW,
                    shadow_share=row.shadow_share or 1.0,
                    features=policy_of(row.config),
                )
                for row in rows
            ),
        )
        for deployment_id, rows in by_deployment.items()
    ]


def _with_deployed(
    stores: Sequence[FeatureStore], deployments: dict[str, DeploymentRow], revisions: Sequence[RevisionRow]
) -> tuple[FeatureStore, ...]:
    """A revision keeps its store even when every view of the team is gone: it then says what is missing."""
    known = {store.team for store in stores}
    found: dict[str, FeatureStore] = {}
    for row in revisions:
        team = deployments[row.deployment_id].team_name
        if row.feature_store is not None and team not in known:
            found[team] = msgspec.convert(row.feature_store | {"team": team}, FeatureStore)
    return (*stores, *found.values())


def _sticky(row: DeploymentRow) -> Sticky | None:
    return msgspec.convert(row.sticky, Sticky) if row.sticky is not None else None


class SnapshotFeed:
    """Holds the newest version and wakes whoever waits for it; one look for all waiters.

    `refresh` is called twice a second, and at once for changes of this process.
    """

    def __init__(self, database: Database, builder: SnapshotBuilder) -> None:
        self._database = database
        self._builder = builder
        self._lock = threading.Lock()
        self._build_lock = threading.Lock()
        self._version = -1
        self._encoded: tuple[int, bytes] = (-1, b"")
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._closed = False

    @property
    def version(self) -> int:
        """The version as last seen."""
        return self._version

    @property
    def closed(self) -> bool:
        return self._closed

    def refresh(self) -> None:
        """Looks at the version row, and wakes the waiters when it changed."""
        with self._database.read() as session:
            version = current_version(session)
        with self._lock:
            if version == self._version:
                return
            self._version = version
        self._wake()

    def close(self) -> None:
        """Answers everyone who waits, so that the process can stop at once."""
        self._closed = True
        self._wake()

    def encoded(self) -> bytes:
        """The newest snapshot as JSON; built once a version."""
        with self._build_lock:
            if self._encoded[0] != self._version or self._version < 0:
                began = time.monotonic()
                with self._database.read() as session:
                    snapshot = self._builder.build(session)
                self._encoded = (snapshot.version, encode_snapshot(snapshot))
                _log.debug("snapshot.built", version=snapshot.version, seconds=time.monotonic() - began)
            return self._encoded[1]

    async def changed(self, after: int, wait: float) -> bool:
        """Whether the version differs from `after`, at the latest `wait` seconds from now."""
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        with self._lock:
            self._waiters.add(waiter)
        try:
            deadline = time.monotonic() + wait
            while self._version == after and not self._closed:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                event.clear()
                if self._version != after:  # it changed between the look and the clearing
                    break
                try:
                    await asyncio.wait_for(event.wait(), remaining)
                except TimeoutError:
                    return False
            return self._version != after
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _wake(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        for loop, event in waiters:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # its loop is closed: nobody waits there any more
                continue
