"""Lineage: what something was made of, and what was made of it."""

from collections.abc import Iterator
from datetime import datetime
from html import escape

from ml_platform.contracts.lineage import LineageEdge, LineageGraph, LineageKind, LineageNode
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.transport import Transport, at

Branch = tuple[int, str, LineageNode, bool]
"""How deep it hangs, by which relation, the node, and whether it hangs elsewhere with all its branches."""


class Lineage(PlatformObject[LineageGraph]):
    """A part of the graph around one node, the root."""

    @property
    def root(self) -> LineageNode:
        return self._by_ref[self._data.root]

    @property
    def nodes(self) -> list[LineageNode]:
        """Nearest first."""
        return sorted(self._data.nodes, key=lambda node: abs(node.distance))

    @property
    def edges(self) -> list[LineageEdge]:
        return list(self._data.edges)

    @property
    def truncated(self) -> bool:
        """Whether there is more than the answer could hold."""
        return self._data.truncated

    def upstream(self, kind: LineageKind | str | None = None) -> list[LineageNode]:
        """What the root was made of; of one kind when it is given."""
        return self._on_side(-1, kind)

    def downstream(self, kind: LineageKind | str | None = None) -> list[LineageNode]:
        """What was made of the root; of one kind when it is given."""
        return self._on_side(1, kind)

    def branches(self, *, upstream: bool) -> Iterator[Branch]:
        """The graph on one side as a tree below the root; a node hangs whole in one place only."""
        neighbours = self._neighbours(upstream=upstream)
        seen = {self._data.root}
        waiting = [(1, edge) for edge in reversed(neighbours.get(self._data.root, []))]
        while waiting:
            depth, edge = waiting.pop()
            ref = edge.source if upstream else edge.target
            again = ref in seen
            yield depth, edge.relation, self._by_ref[ref], again and bool(neighbours.get(ref))
            if not again:
                seen.add(ref)
                waiting += [(depth + 1, further) for further in reversed(neighbours.get(ref, []))]

    def __repr__(self) -> str:
        lines = [f"Lineage of {named(self.root)}"]
        for upstream, title in ((True, "made of"), (False, "used for")):
            branches = list(self.branches(upstream=upstream))
            if branches:
                lines.append(f"  {title}")
            lines += [
                f"{'  ' * (depth + 1)}{named(node)} ({relation}){' ...' if again else ''}"
                for depth, relation, node, again in branches
            ]
        return "\n".join([*lines, *(["  (truncated)"] if self.truncated else [])])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def _by_ref(self) -> dict[str, LineageNode]:
        return {node.ref: node for node in self._data.nodes}

    def _on_side(self, sign: int, kind: LineageKind | str | None) -> list[LineageNode]:
        return [
            node
            for node in self.nodes
            if node.distance * sign > 0 and (kind is None or node.kind == LineageKind(kind))
        ]

    def _neighbours(self, *, upstream: bool) -> dict[str, list[LineageEdge]]:
        """Edges away from the root by the node that they are nearer to it at."""
        distances = {node.ref: node.distance for node in self._data.nodes}
        sign = -1 if upstream else 1
        found: dict[str, list[LineageEdge]] = {}
        for edge in self._data.edges:
            near, far = (edge.target, edge.source) if upstream else (edge.source, edge.target)
            if distances[near] * sign >= 0 and distances[far] * sign >= 0:
                found.setdefault(near, []).append(edge)
        return found


def named(node: LineageNode) -> str:
    """A node in a few words."""
    return f"{node.kind.value.replace('_', ' ')} {node.details.get('name') or node.id}"


def lineage_of(
    transport: Transport,
    kind: LineageKind | str,
    id: str,  # noqa: A002 - as the API calls it
    *,
    direction: str = "both",
    depth: int | None = None,
    limit: int | None = None,
    predictions: bool = False,
    since: datetime | None = None,
) -> Lineage:
    """See `Platform.lineage`."""
    params = {
        "direction": direction,
        "depth": depth,
        "limit": limit,
        "predictions": predictions or None,
        "since": since.astimezone().isoformat() if since is not None else None,
    }
    path = at("lineage", LineageKind(kind).value, *id.split("/"))
    return Lineage(transport, transport.get(path, LineageGraph, params))
