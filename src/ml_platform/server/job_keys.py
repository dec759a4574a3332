"""Keys of training jobs: held by a service account, narrowed to one role in the job's team, short-lived."""

from datetime import timedelta

from sqlalchemy import select

from ml_platform.contracts.identity import Role
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.identity import IdentityService
from ml_platform.services.identity.repository import IdentityRepository
from ml_platform.services.identity.service import KEYS_CHANGED
from ml_platform.services.identity.tables import KeyRow, UserRow

OWNER = "training-jobs"
PURPOSE = "job"


class IdentityJobKeys:
    """Issues and revokes the key by which a job's script speaks to the platform."""

    def issue(self, work: Work, job_id: str, *, seconds: float) -> str:
        """See `JobKeys`."""
        self.revoke(work, job_id)
        owner = work.session.scalars(select(UserRow).where(UserRow.name == OWNER)).one()
        key = IdentityService(work).issue_key(
            owner,
            name=job_id,
            roles=[Role.TRAINING_JOB],
            expires_at=work.clock() + timedelta(seconds=seconds),
            purpose=PURPOSE,
        )
        return key.token

    def revoke(self, work: Work, job_id: str) -> None:
        """See `JobKeys`."""
        query = select(KeyRow.id).where(
            KeyRow.purpose == PURPOSE, KeyRow.name == job_id, KeyRow.revoked_at.is_(None)
        )
        active = list(work.session.scalars(query))
        if active:
            IdentityRepository(work.session).revoke_keys_for(PURPOSE, job_id, work.clock())
            for key_id in active:
                work.record("key.revoke", "key", key_id, after={"name": job_id, "purpose": PURPOSE})
            work.emit(KEYS_CHANGED, {"reason": "job"})


def ensure_owner(factory: WorkFactory) -> None:
    """Makes the service account of all jobs when it is missing; it has no key and no team of its own."""
    with factory.begin(Actor.system("first-start")) as work:
        if work.session.scalars(select(UserRow).where(UserRow.name == OWNER)).first() is not None:
            return
        row = UserRow(
            id=new_id("usr"),
            name=OWNER,
            display_name=None,
            kind="service",
            admin=False,
            active=True,
            created_at=work.clock(),
        )
        work.session.add(row)
        work.record("user.create", "user", row.id, after={"name": OWNER, "admin": False})
