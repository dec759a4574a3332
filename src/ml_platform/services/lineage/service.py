"""What one can ask about lineage."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from ml_platform.contracts.lineage import (
    LineageDirection,
    LineageEdge,
    LineageGraph,
    LineageKind,
    LineageNode,
)
from ml_platform.kit.errors import NotFoundError
from ml_platform.services.access import Work
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.lineage.describing import Description, describe
from ml_platform.services.lineage.finding import find
from ml_platform.services.lineage.links import DOWNSTREAM, UPSTREAM, Edge, Ref
from ml_platform.services.lineage.predictions import Answered, LoggedPredictions
from ml_platform.services.lineage.walk import Found, LineageWalk
from ml_platform.services.monitoring import ServedDeployment

LOOK_BACK = timedelta(days=30)
_MOST_DEPLOYMENTS = 500
_MOST_COUNTED = 50
_LOGGED = (LineageKind.PREDICTIONS, LineageKind.PREDICTION)


@dataclass(frozen=True, slots=True)
class Asked:
    """`predictions`: whether the log is asked as well; `since`: from when on, by default 30 days back."""

    direction: LineageDirection
    depth: int
    most: int
    predictions: bool = False
    since: datetime | None = None


class LineageService:
    """Lineage within one team."""

    def __init__(self, work: Work, log: LoggedPredictions) -> None:
        self._work = work
        self._log = log

    def graph(self, kind: LineageKind, given: str, asked: Asked) -> LineageGraph:
        """What `given` was made of, what was made of it, or both.

        Raises:
            NotFoundError: the team has no such thing.
        """
        known: dict[Ref, Description] = {}
        if kind in _LOGGED:
            root = Ref(kind, given)
            found = self._from_the_log(root, asked, known)
        else:
            root = find(self._work, kind, given)
            found = self._walk(root, root, asked)
        if asked.predictions and asked.direction is not UPSTREAM and kind not in _LOGGED:
            self._add_predictions(found, root, asked, known)
        rest = [ref for ref in found.distances if ref.kind not in _LOGGED]
        known |= describe(self._work.session, self._work.team_id, rest)
        return _answer(root, found, known, asked)

    # -- predictions

    def _from_the_log(self, root: Ref, asked: Asked, known: dict[Ref, Description]) -> Found:
        """Predictions lead upstream to the revisions that made them; nothing is made of them here."""
        answered = (
            self._of_request(root.key, asked)
            if root.kind is LineageKind.PREDICTION
            else self._of_revisions([root.key], asked)[0]
        )
        if not answered:
            since = self._since(asked).isoformat(timespec="seconds")
            raise NotFoundError(
                f"the prediction log has nothing of {root.key!r} since {since}",
                hint="look further back with `since`; what is older than the log's retention is gone",
            )
        found = Found({root: 0})
        known[root] = _described(root.key, answered)
        if asked.direction is DOWNSTREAM or asked.depth == 0:
            return found
        for item in answered:
            revision = Ref(LineageKind.REVISION, item.revision_id)
            part = self._walk(root, revision, asked, UPSTREAM)
            found.distances = part.distances | found.distances
            found.edges |= part.edges | {Edge(revision, root, "answered"): None}
            found.expanded |= part.expanded | {root}
            found.names |= part.names
            found.truncated |= part.truncated
        return found

    def _of_request(self, request_id: str, asked: Asked) -> list[Answered]:
        query = select(DeploymentRow).where(DeploymentRow.team_id == self._work.team_id)
        newest = query.order_by(DeploymentRow.updated_at.desc()).limit(_MOST_DEPLOYMENTS)
        deployments = [_served(row) for row in self._work.session.scalars(newest)]
        self._work.close()  # the log may take its time
        return self._log.find(deployments, request_id, self._since(asked), self._work.clock())

    def _of_revisions(self, ids: Iterable[str], asked: Asked) -> tuple[list[Answered], bool]:
        """What these revisions of the team answered, and whether everything was counted."""
        query = (
            select(RevisionRow.id, DeploymentRow)
            .join(DeploymentRow, DeploymentRow.id == RevisionRow.deployment_id)
            .where(RevisionRow.team_id == self._work.team_id, RevisionRow.id.in_(list(ids)))
            .order_by(RevisionRow.id.desc())
        )
        wanted: dict[ServedDeployment, set[str]] = {}
        for revision_id, row in self._work.session.execute(query):
            wanted.setdefault(_served(row), set()).add(revision_id)
        self._work.close()
        answered: list[Answered] = []
        complete = len(wanted) <= _MOST_COUNTED
        for deployment in list(wanted)[:_MOST_COUNTED]:
            found, all_of_it = self._log.count(deployment, self._since(asked), self._work.clock())
            answered += [item for item in found if item.revision_id in wanted[deployment]]
            complete &= all_of_it
        return answered, complete

    def _add_predictions(self, found: Found, root: Ref, asked: Asked, known: dict[Ref, Description]) -> None:
        """What the revisions answered that are the root, downstream of it, or the root deployment's own."""
        sources: dict[str, Ref] = {
            ref.key: ref
            for ref, distance in found.distances.items()
            if ref.kind is LineageKind.REVISION and 0 <= distance < asked.depth
        }
        if root.kind is LineageKind.DEPLOYMENT and asked.depth > 0:
            own = select(RevisionRow.id).where(
                RevisionRow.team_id == self._work.team_id, RevisionRow.deployment_id == root.key
            )
            newest = own.order_by(RevisionRow.id.desc()).limit(asked.most)
            sources |= dict.fromkeys(self._work.session.scalars(newest), root)
        answered, complete = self._of_revisions(sources, asked)
        found.truncated |= not complete
        for item in answered:
            if len(found.distances) >= asked.most:
                found.truncated = True
                return
            ref, source = Ref(LineageKind.PREDICTIONS, item.revision_id), sources[item.revision_id]
            found.distances[ref] = found.distances[source] + 1
            found.edges[Edge(source, ref, "answered")] = None
            known[ref] = _described(item.revision_id, [item])

    # -- parts

    def _walk(self, root: Ref, start: Ref, asked: Asked, direction: LineageDirection | None = None) -> Found:
        walk = LineageWalk(self._work.session, self._work.team_id, depth=asked.depth, most=asked.most)
        return walk.run(root, start, direction or asked.direction)

    def _since(self, asked: Asked) -> datetime:
        return asked.since or self._work.clock() - LOOK_BACK


def _answer(root: Ref, found: Found, known: dict[Ref, Description], asked: Asked) -> LineageGraph:
    """What is described, and what was deleted but is remembered by an edge; anything else is left out."""
    for ref in found.distances:
        if ref not in known and ref in found.names:
            known[ref] = Description(ref.key, details={"name": found.names[ref], "deleted": True})
    nodes = [
        LineageNode(
            ref=str(ref),
            kind=ref.kind,
            id=known[ref].id,
            distance=distance,
            expanded=ref in found.expanded,
            created_at=known[ref].created_at,
            created_by=known[ref].created_by,
            details=known[ref].details,
        )
        for ref, distance in found.distances.items()
        if ref in known
    ]
    edges = [
        LineageEdge(source=str(edge.source), target=str(edge.target), relation=edge.relation)
        for edge in found.edges
        if edge.source in known and edge.target in known
    ]
    notes = []
    if found.truncated:
        notes.append(
            f"there is more than {asked.most} nodes, or four times as many edges, can show: ask for more with"
            " `limit`, or go on from a node that is not expanded"
        )
    return LineageGraph(
        root=str(root),
        direction=asked.direction,
        depth=asked.depth,
        nodes=nodes,
        edges=edges,
        truncated=found.truncated,
        notes=notes,
    )


def _described(name: str, answered: list[Answered]) -> Description:
    details = {
        "predictions": sum(item.predictions for item in answered),
        "failures": sum(item.failures for item in answered),
        "first_at": min(item.first for item in answered).isoformat(),
        "last_at": max(item.last for item in answered).isoformat(),
        "revisions": [item.revision_id for item in answered],
    }
    return Description(name, details=details)


def _served(row: DeploymentRow) -> ServedDeployment:
    return ServedDeployment(row.id, row.team_id, row.team_name, row.environment, row.name)
