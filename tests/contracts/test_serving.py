"""The online stores of a snapshot: what may be said of them, and what contradicts itself."""

import pytest

from ml_platform.contracts.features import JoinKey, OnlineFeature, OnlineView
from ml_platform.contracts.serving import (
    FeatureStore,
    Snapshot,
    SnapshotError,
    decode_snapshot,
    encode_snapshot,
)

KEYS = (JoinKey(name="customer_id", type="STRING"),)
FEATURES = (OnlineFeature(name="tenure", type="INT64"), OnlineFeature(name="charges", type="DOUBLE"))
VIEW = OnlineView(name="churn", join_keys=KEYS, features=FEATURES, ttl_seconds=86_400.0)


def snapshot(*stores: FeatureStore) -> Snapshot:
    return Snapshot(version=1, feature_stores=stores)


class TestTheStoresOfASnapshot:
    def test_views_arrive_as_they_were_listed(self):
        stores = (
            FeatureStore(team="a", project="team_a", path="/data/online.db", views=(VIEW,)),
            FeatureStore(team="b", project="team_b", kind="redis", views=(VIEW,)),
        )
        assert decode_snapshot(encode_snapshot(snapshot(*stores))).feature_stores == stores

    def test_a_snapshot_from_before_views_were_listed_is_read(self):
        old = b'{"version":1,"feature_stores":[{"team":"a","project":"p","path":"/data/online.db"}]}'
        (store,) = decode_snapshot(old).feature_stores
        assert (store.kind, store.views) == ("sqlite", ())

    @pytest.mark.parametrize(
        ("store", "message"),
        [
            (FeatureStore(team="a", project="p"), "a path goes with SQLite alone"),
            (FeatureStore(team="a", project="p", kind="redis", path="/x"), "a path goes with SQLite alone"),
            (FeatureStore(team="a", project="p", kind="redis", views=(VIEW, VIEW)), "is listed twice"),
            (
                FeatureStore(
                    team="a",
                    project="p",
                    kind="redis",
                    views=(OnlineView(name="v", join_keys=(), features=FEATURES),),
                ),
                "missing or listed twice",
            ),
            (
                FeatureStore(
                    team="a",
                    project="p",
                    kind="redis",
                    views=(OnlineView(name="v", join_keys=KEYS, features=FEATURES * 2),),
                ),
                "missing or listed twice",
            ),
        ],
    )
    def test_a_store_that_contradicts_itself_is_refused_by_name(self, store, message):
        with pytest.raises(SnapshotError, match=message):
            encode_snapshot(snapshot(store))
