"""What the feature views of a team's store mean for revisions that are being served."""

import asyncio
from typing import Any

from ml_platform.contracts.bundles import EntityKey, FeatureRequest
from ml_platform.contracts.features import JoinKey, OnlineFeature, OnlineView
from ml_platform.contracts.serving import FeatureStore

from .support.bundles import build_linear
from .support.control import endpoint, snapshot
from .support.plane import Plane, only, running
from .test_lookups import write_store

REQUEST = FeatureRequest(
    entities=(EntityKey(name="customer_id", type="string"),),
    columns={"x0": "customer:tenure", "x1": "customer:charges"},
)


def view(name: str, *more: OnlineFeature) -> OnlineView:
    features = tuple(OnlineFeature(name=feature, type="DOUBLE") for feature in ("tenure", "charges"))
    keys = (JoinKey(name="customer_id", type="STRING"),)
    return OnlineView(name=name, join_keys=keys, features=(*features, *more))


class TestAChangeOfTheStore:
    def revisions_after(self, storage, tmp_path, *changes: tuple[OnlineView, ...]) -> list[Any]:
        """The live revision after each of these lists of views."""
        write_store(tmp_path / "online.db", {"a": (10.0, 1.0)})
        bundle = build_linear(storage / f"views-{tmp_path.name}", [1.0, 1.0], features=REQUEST)

        async def scenario() -> list[Any]:
            seen = []
            async with running(tmp_path / "state", storage) as plane:
                for version, views in enumerate(changes, start=1):
                    await self.apply(plane, version, bundle, tmp_path, views)
                    seen.append(plane.manager.live[-1])
            return seen

        return asyncio.run(scenario())

    async def apply(self, plane: Plane, version: int, bundle, tmp_path, views) -> None:
        store = FeatureStore(team="acme", project="shop", path=str(tmp_path / "online.db"), views=views)
        plane.manager.apply(snapshot(version, endpoint(only(bundle, "one")), stores=(store,)))
        await plane.manager.settled(60)

    def test_another_view_of_the_team_leaves_the_revision_as_it_is(self, storage, tmp_path):
        first, second, third = self.revisions_after(
            storage, tmp_path, (view("customer"),), (view("customer"), view("other")), (view("customer"),)
        )
        assert first is second is third

    def test_a_view_that_was_deleted_leaves_the_revision_to_rows_that_are_whole(self, storage, tmp_path):
        first, second = self.revisions_after(storage, tmp_path, (view("customer"),), ())
        assert first is second

    def test_another_definition_of_its_own_view_is_taken_over(self, storage, tmp_path):
        changed = view("customer", OnlineFeature(name="more", type="INT64"))
        first, second = self.revisions_after(storage, tmp_path, (view("customer"),), (changed,))
        assert first is not second
