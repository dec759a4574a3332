"""Walks the graph from one node, level by level, within bounds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from ml_platform.contracts.lineage import LineageDirection, LineageKind
from ml_platform.services.lineage.links import DOWNSTREAM, LINKS, UPSTREAM, Edge, Ref, recorded

_KEYS_A_QUERY = 500
_EDGES_A_NODE = 4


@dataclass
class Found:
    """A part of the graph. `names` has what recorded neighbours were called, for those that are gone."""

    distances: dict[Ref, int]
    edges: dict[Edge, None] = field(default_factory=dict)
    expanded: set[Ref] = field(default_factory=set)
    names: dict[Ref, str] = field(default_factory=dict)
    truncated: bool = False


class LineageWalk:
    """Every node is visited once, so a loop is no more than an edge.

    Args:
        most: nodes; there are at most four times as many edges.
    """

    def __init__(self, session: Session, team_id: str, *, depth: int, most: int) -> None:
        self._session = session
        self._team_id = team_id
        self._depth = depth
        self._most = most

    def run(self, root: Ref, start: Ref, direction: LineageDirection) -> Found:
        """From `start`, which is `root` or its only neighbour; both ways share the bounds."""
        found = Found({root: 0})
        if direction is not DOWNSTREAM:
            most = self._most if direction is UPSTREAM else (self._most + 1) // 2
            self._one_way(found, root, start, UPSTREAM, most)
        if direction is not UPSTREAM:
            self._one_way(found, root, start, DOWNSTREAM, self._most)
        return found

    def _one_way(self, found: Found, root: Ref, start: Ref, direction: LineageDirection, most: int) -> None:
        sign = -1 if direction is UPSTREAM else 1
        first = 0 if start == root else 1
        found.distances.setdefault(start, sign * first)
        followed, frontier = {start}, [start]
        for level in range(first + 1, self._depth + 1):
            following: list[Ref] = []
            for edge, ends in self._edges(found, frontier, direction, _EDGES_A_NODE * most + 1):
                far = edge.source if direction is UPSTREAM else edge.target
                full = len(found.distances) >= most and far not in found.distances
                if full or (len(found.edges) >= _EDGES_A_NODE * most and edge not in found.edges):
                    found.truncated = True
                    found.expanded.difference_update(frontier)
                    return
                found.edges[edge] = None
                found.distances.setdefault(far, sign * level)
                if not ends and far not in followed:
                    followed.add(far)
                    following.append(far)
            found.expanded.update(frontier)
            frontier = following
            if not frontier:
                return

    def _edges(
        self, found: Found, frontier: Iterable[Ref], direction: LineageDirection, most: int
    ) -> Iterator[tuple[Edge, bool]]:
        """The edges at these nodes, each with whether one looks no further than its other side."""
        by_kind: dict[LineageKind, list[str]] = {}
        for ref in frontier:
            by_kind.setdefault(ref.kind, []).append(ref.key)
        for kind, all_keys in by_kind.items():
            for start in range(0, len(all_keys), _KEYS_A_QUERY):
                keys = all_keys[start : start + _KEYS_A_QUERY]
                for link in LINKS:
                    if kind is (link.target if direction is UPSTREAM else link.source):
                        query = link.query(self._team_id, keys, direction, most)
                        for source, target in self._session.execute(query):
                            edge = Edge(Ref(link.source, source), Ref(link.target, target), link.relation)
                            yield edge, direction in link.ends
                yield from self._recorded(found, kind, keys, direction, most)

    def _recorded(
        self, found: Found, kind: LineageKind, keys: list[str], direction: LineageDirection, most: int
    ) -> Iterator[tuple[Edge, bool]]:
        for row in self._session.scalars(recorded(self._team_id, kind, keys, direction, most)):
            source = Ref(LineageKind(row.source_kind), row.source_id)
            target = Ref(LineageKind(row.target_kind), row.target_id)
            found.names.setdefault(source, row.source_name)
            found.names.setdefault(target, row.target_name)
            yield Edge(source, target, row.relation), False
