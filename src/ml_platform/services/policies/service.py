"""Looks at, checks and applies the organisation's policies."""

from typing import Any

from sqlalchemy.exc import IntegrityError

from ml_platform.contracts.policies import (
    PolicyApply,
    PolicyCheck,
    PolicyFiles,
    PolicyOverview,
    PolicyVersion,
    PolicyVersionDetail,
)
from ml_platform.contracts.problems import FieldProblem
from ml_platform.kit.errors import BadInputError, ConflictError, NotFoundError
from ml_platform.kit.strictjson import digest
from ml_platform.services.access import Work
from ml_platform.services.policies.interfaces import PolicyEngine
from ml_platform.services.policies.repository import PolicyRepository
from ml_platform.services.policies.sync import PolicySync
from ml_platform.services.policies.tables import PolicySetRow

CHANGED = "policies.changed"
"""The topic on which the process that decides is told of a new version."""
_MOST_NAMED = 20


class PolicyService:
    """The policies of the installation, in one unit of work."""

    def __init__(self, work: Work, engine: PolicyEngine) -> None:
        self._work = work
        self._engine = engine

    def overview(self, sync: PolicySync) -> PolicyOverview:
        """What is in force: the platform's policies and, behind them, the organisation's."""
        repository = PolicyRepository(self._work.session)
        used = self._engine.version
        row = repository.version(used)
        own = self._engine.check(row.files, {}).policies if row is not None else []
        return PolicyOverview(
            version=repository.newest_version(),
            in_force=used,
            problem=sync.problem,
            policies=[*self._engine.platform_policies(), *own],
        )

    def check(self, body: PolicyFiles) -> PolicyCheck:
        return self._engine.check(body.files, body.tests)

    def history(self, *, before: int | None, limit: int) -> list[PolicyVersion]:
        """Newest first."""
        rows = PolicyRepository(self._work.session).versions(before=before, limit=limit)
        return [_version(row) for row in rows]

    def get(self, version: int) -> PolicyVersionDetail:
        row = PolicyRepository(self._work.session).version(version)
        if row is None:
            raise NotFoundError(
                f"there is no version {version} of the organisation's policies",
                hint="see which there are: mlops policies history",
            )
        return PolicyVersionDetail(**_fields(row), files=row.files, tests=row.tests)

    def apply(self, body: PolicyApply) -> PolicyVersion:
        """Makes a set the newest version; the same set again changes nothing.

        Raises:
            BadInputError: it is broken, or one of its tests fails; each problem is named.
            ConflictError: another version than the expected one is the newest, or somebody was quicker.
        """
        checked = self._engine.check(body.files, body.tests)  # before the transaction: it takes a while
        if not checked.valid:
            raise _refusal(checked)
        repository = PolicyRepository(self._work.session)
        newest = repository.newest_version()
        if body.expected_version is not None and body.expected_version != newest:
            raise ConflictError(
                f"version {newest} is the newest, not {body.expected_version}",
                hint="look at what changed: mlops policies show",
                extra={"version": newest},
            )
        before = repository.version(newest)
        fingerprint = digest({"files": body.files, "tests": body.tests})
        if before is not None and before.digest == fingerprint:
            return _version(before)
        row = PolicySetRow(
            version=newest + 1,
            digest=fingerprint,
            files=dict(body.files),
            tests=dict(body.tests),
            policy_ids=[policy.policy_id for policy in checked.policies],
            note=body.note,
            applied_by=self._work.actor.actor_id,
            applied_by_name=self._work.actor.name,
            applied_at=self._work.clock(),
        )
        self._add(row)
        self._work.record(
            "policies.apply",
            "policy_set",
            str(row.version),
            before=_facts(before) if before is not None else None,
            after=_facts(row),
            note=body.note,
            tests=len(checked.tests),
        )
        self._work.emit(CHANGED, {"version": row.version})
        return _version(row)

    def _add(self, row: PolicySetRow) -> None:
        self._work.session.add(row)
        try:
            self._work.session.flush()
        except IntegrityError:
            raise ConflictError(
                "somebody else applied policies at this moment", hint="look at theirs: mlops policies show"
            ) from None


def _refusal(checked: PolicyCheck) -> BadInputError:
    fields = [
        FieldProblem(field=problem.file or "files", message=_named(problem.policy_id, problem.message))
        for problem in checked.problems
    ]
    fields += [
        FieldProblem(field=result.file, message=f"test {result.name!r}: {result.message}")
        for result in checked.tests
        if not result.passed
    ]
    failed = sum(not result.passed for result in checked.tests)
    what = f"{failed} of {len(checked.tests)} tests fail" if failed else "they cannot be taken"
    return BadInputError(
        f"the policies stay as they are: {what}",
        fields=fields[:_MOST_NAMED],
        hint="try them first: mlops policies test, mlops policies validate",
    )


def _named(policy_id: str | None, message: str) -> str:
    return f"{policy_id}: {message}" if policy_id else message


def _facts(row: PolicySetRow) -> dict[str, Any]:
    """For the audit log; the texts themselves stay in the version's row, which never changes."""
    return {
        "version": row.version,
        "digest": row.digest,
        "policies": row.policy_ids,
        "files": {name: digest(text) for name, text in row.files.items()},
    }


def _fields(row: PolicySetRow) -> dict[str, Any]:
    return {
        "version": row.version,
        "digest": row.digest,
        "policies": row.policy_ids,
        "note": row.note,
        "applied_by": row.applied_by_name,
        "applied_at": row.applied_at,
    }


def _version(row: PolicySetRow) -> PolicyVersion:
    return PolicyVersion(**_fields(row))
