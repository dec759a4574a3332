"""Personal data in versions of datasets: what was found in them, and what people say of it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.datasets import PersonalDataMark
from ml_platform.contracts.personaldata import (
    FoundBy,
    PersonalDataFinding,
    PersonalDataGroup,
    PersonalDataKind,
    PersonalDataReport,
    PersonalDataStatus,
    PersonalDataVerdict,
)
from ml_platform.kit.errors import BadInputError, NotFoundError
from ml_platform.services.access import Work
from ml_platform.services.datasets.repository import DatasetRepository
from ml_platform.services.datasets.tables import DatasetRow, DatasetVersionRow, PersonalDataMarkRow

_MORE = 0.1
"""A finding that was said to be wrong is asked again where the share of its values is that much larger."""
_KEPT = ("type", "count", "nulls", "non_finite", "distinct")


class PersonalDataService:
    """Personal data in the datasets of the team of `work`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._repository = DatasetRepository(work.session, work.team_id)

    def report(self, name: str, number: int | None) -> PersonalDataReport:
        """Of a version, or the newest."""
        row, version = self._version(name, number)
        found = version.personal_data or {}
        return PersonalDataReport(
            dataset=row.name,
            version=version.version,
            sampled_rows=found.get("sampled_rows", 0),
            complete=found.get("complete", False),
            findings=findings_of(self._work.session, [version])[version.id],
        )

    def mark(self, name: str, body: PersonalDataMark) -> PersonalDataReport:
        """Keeps what a person says of a column and a kind, in place of what was said before.

        Raises:
            BadInputError: there is no such column, or nothing was found that could be wrong.
        """
        row, version = self._version(name, body.version)
        if body.column not in columns_of(version):
            raise BadInputError.of(
                "column", f"{row.name}@{version.version} has no column {body.column[:100]!r}"
            )
        found = next((f for f in _found(version) if (f.column, f.kind) == (body.column, body.kind)), None)
        if body.verdict is PersonalDataVerdict.WRONG and found is None:
            raise BadInputError.of(
                "kind",
                f"{body.kind.value} was not found in {body.column[:100]!r} of {row.name}@{version.version}",
            )
        mark = self._work.session.get(PersonalDataMarkRow, (row.id, body.column, body.kind.value))
        before = _facts(mark) if mark is not None else None
        if body.verdict is PersonalDataVerdict.AS_FOUND:
            after = _take_back(self._work.session, mark, body)
        else:
            mark = mark or self._new_mark(row, body)
            mark.verdict, mark.reason = body.verdict.value, body.reason
            mark.version, mark.share = version.version, found.share if found is not None else None
            mark.marked_by, mark.marked_at = self._work.actor.name, self._work.clock()
            after = _facts(mark)
        self._work.session.flush()
        self._work.record("dataset.personal_data.mark", "dataset", row.id, before=before, after=after)
        return self.report(name, version.version)

    def _new_mark(self, row: DatasetRow, body: PersonalDataMark) -> PersonalDataMarkRow:
        mark = PersonalDataMarkRow(
            dataset_id=row.id, column_name=body.column, kind=body.kind.value, team_id=row.team_id
        )
        self._work.session.add(mark)
        return mark

    def _version(self, name: str, number: int | None) -> tuple[DatasetRow, DatasetVersionRow]:
        row = self._repository.dataset(name)
        if row is None:
            raise NotFoundError.of("dataset", name)
        version = self._repository.version(row.id, number or row.latest_version)
        if version is None:
            raise NotFoundError(
                f"dataset {name!r} has no version {number or 'yet'}", hint=f"mlops datasets versions {name}"
            )
        return row, version


def findings_of(
    session: Session, versions: Collection[DatasetVersionRow]
) -> dict[str, list[PersonalDataFinding]]:
    """By id of the version: what was found, with what people say of it, in the order of the columns."""
    datasets = {version.dataset_id for version in versions}
    marks: dict[str, list[PersonalDataMarkRow]] = {dataset: [] for dataset in datasets}
    query = select(PersonalDataMarkRow).where(PersonalDataMarkRow.dataset_id.in_(list(datasets)))
    for mark in session.scalars(query):
        marks[mark.dataset_id].append(mark)
    return {version.id: _effective(version, marks[version.dataset_id]) for version in versions}


def kinds_of(
    session: Session, team_id: str, references: Collection[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, list[PersonalDataKind]]]:
    """By dataset and version, and by column: the kinds of which something follows."""
    query = (
        select(DatasetRow.name, DatasetVersionRow)
        .join(DatasetRow, DatasetRow.id == DatasetVersionRow.dataset_id)
        .where(
            DatasetVersionRow.team_id == team_id,
            DatasetRow.name.in_([name for name, _ in references]),
            DatasetVersionRow.version.in_([number for _, number in references]),
        )
    )
    versions = {(name, row.version): row for name, row in session.execute(query)}
    findings = findings_of(session, list(versions.values()))
    kinds: dict[tuple[str, int], dict[str, list[PersonalDataKind]]] = {}
    for reference, row in versions.items():
        columns = kinds.setdefault(reference, {})
        for finding in findings[row.id]:
            if finding.counts:
                columns.setdefault(finding.column, []).append(finding.kind)
    return kinds


def columns_of(version: DatasetVersionRow) -> list[str]:
    """In the order of the schema; a schema may let others in beside its own."""
    known = [str(column["name"]) for column in version.columns_schema["columns"]]
    return [*known, *sorted(set(version.profile.get("columns", {})).difference(known))]


def shown_profile(profile: Mapping[str, Any], findings: Sequence[PersonalDataFinding]) -> dict[str, Any]:
    """A profile without the values of columns that say who somebody is."""
    direct = {f.column for f in findings if f.counts and f.group is PersonalDataGroup.DIRECT}
    columns = {
        name: {key: value if key in _KEPT else None for key, value in facts.items()}
        if name in direct
        else facts
        for name, facts in profile.get("columns", {}).items()
    }
    return {**profile, "columns": columns}


def _effective(version: DatasetVersionRow, marks: Sequence[PersonalDataMarkRow]) -> list[PersonalDataFinding]:
    found = {(item.column, item.kind): item for item in _found(version)}
    places = {name: place for place, name in enumerate(columns_of(version))}
    for mark in marks:
        key = (mark.column_name, PersonalDataKind(mark.kind))
        item = found.get(key)
        said = {"marked_by": mark.marked_by, "marked_at": mark.marked_at, "reason": mark.reason}
        if mark.verdict == PersonalDataVerdict.WRONG:
            if item is not None and (item.share or 0.0) <= (mark.share or 0.0) + _MORE:
                found[key] = item.model_copy(update={"status": PersonalDataStatus.WRONG, **said})
        elif mark.column_name in places:
            found[key] = PersonalDataFinding(
                column=mark.column_name,
                kind=key[1],
                status=PersonalDataStatus.TAGGED,
                found_by=item.found_by if item is not None else FoundBy.PERSON,
                share=item.share if item is not None else None,
                confidence=1.0,
                detail=item.detail if item is not None else None,
                **said,
            )
    return sorted(found.values(), key=lambda item: (places.get(item.column, 0), item.column, item.kind))


def _found(version: DatasetVersionRow) -> list[PersonalDataFinding]:
    return [
        PersonalDataFinding(status=PersonalDataStatus.FOUND, **item)
        for item in (version.personal_data or {}).get("findings", ())
    ]


def _facts(mark: PersonalDataMarkRow) -> dict[str, Any]:
    return {
        "column": mark.column_name,
        "kind": mark.kind,
        "verdict": mark.verdict,
        "reason": mark.reason,
        "version": mark.version,
    }


def _take_back(session: Session, mark: PersonalDataMarkRow | None, body: PersonalDataMark) -> dict[str, Any]:
    if mark is not None:
        session.delete(mark)
    return {
        "column": body.column,
        "kind": body.kind.value,
        "verdict": body.verdict.value,
        "reason": body.reason,
    }
