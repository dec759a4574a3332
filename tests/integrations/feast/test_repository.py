"""Definitions and materialisation, checked against the stock Feast client on the same directory."""

import itertools
import subprocess
import sys
import threading
from datetime import timedelta

import feast
import polars as pl
import pytest

from ml_platform.integrations.feast import (
    EntitySpec,
    FeastRepository,
    FeatureDefinitionError,
    FeatureSourceError,
    FieldSpec,
)
from ml_platform.kit.errors import ConflictError, NotFoundError

from .conftest import day

REFS = ["churn:charges", "churn:tenure", "churn:plan"]


class TestImport:
    def test_the_adapter_does_not_import_feast_until_it_is_needed(self):
        code = (
            "import sys, ml_platform.integrations.feast as f; f.FeastRepository('x', 'team');"
            "assert not {'feast', 'dask', 'ibis', 'pandas'} & set(sys.modules), 'heavy'"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestApply:
    def test_what_was_applied_comes_back_as_it_was(self, repository, make_view):
        view = make_view(ttl=timedelta(days=2), description="who leaves", tags={"owner": "us"})
        repository.apply([view])
        assert repository.list_views() == [view]
        assert repository.get_view("churn") == view

    def test_applying_twice_changes_nothing(self, repository, make_view):
        repository.apply([make_view()])
        repository.materialize("churn")
        repository.apply([make_view()])
        assert repository.get_online_features([{"customer_id": "a"}], REFS)["tenure"] == [5]

    @pytest.mark.parametrize("full", [False, True])
    def test_columns_come_in_the_order_in_which_they_were_asked(self, repository, make_view, full):
        repository.apply([make_view()])
        repository.materialize("churn")
        for names in itertools.permutations(["charges", "tenure", "plan"]):
            answer = repository.get_online_features(
                [{"customer_id": "a"}], [f"churn:{name}" for name in names], full_feature_names=full
            )
            assert list(answer) == ["customer_id", *(f"churn__{name}" if full else name for name in names)]

    def test_a_stock_client_sees_it(self, repository, make_view):
        repository.apply([make_view()])
        store = feast.FeatureStore(str(repository.folder))
        assert [view.name for view in store.list_feature_views()] == ["churn"]

    def test_teams_do_not_see_each_other(self, repository, make_view, tmp_path):
        repository.apply([make_view()])
        other = FeastRepository(tmp_path / "features", "team_b")
        assert other.list_views() == []
        with pytest.raises(NotFoundError):
            other.get_view("churn")

    def test_a_column_that_the_source_lacks_is_named(self, repository, make_view):
        with pytest.raises(FeatureSourceError, match="'nope'"):
            repository.apply([make_view(fields=(FieldSpec("nope", "INT64"),))])

    def test_a_source_that_is_not_there_is_an_error_of_the_caller(self, repository, make_view, tmp_path):
        view = make_view()
        (tmp_path / "churn_source.parquet").unlink()
        with pytest.raises(FeatureSourceError, match="cannot be read"):
            repository.apply([view])

    def test_one_entity_has_one_type(self, repository, make_view):
        repository.apply([make_view()])
        with pytest.raises(FeatureDefinitionError, match="STRING in another"):
            repository.apply([make_view(name="other", entities=(EntitySpec("customer_id", "INT64"),))])

    @pytest.mark.parametrize("name", ["", "1a", "a b", "a__b", "a;drop", 'a"b', "x" * 64, "ä"])
    def test_bad_names_are_refused(self, make_view, name):
        with pytest.raises(FeatureDefinitionError):
            make_view(fields=(FieldSpec(name, "INT64"),))

    @pytest.mark.parametrize("team", ["", "../x", "A", "a/b", "x" * 64])
    def test_a_team_cannot_name_another_directory(self, tmp_path, team):
        with pytest.raises(FeatureDefinitionError):
            FeastRepository(tmp_path, team)

    def test_applying_from_many_threads_loses_no_view(self, repository, make_view):
        views = [make_view(name=f"view_{i}") for i in range(4)]
        threads = [threading.Thread(target=repository.apply, args=([view],)) for view in views]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert [view.name for view in repository.list_views()] == [f"view_{i}" for i in range(4)]


class TestDelete:
    def test_the_definition_and_the_online_values_go(self, repository, make_view, stored):
        view = make_view()
        repository.apply([view])
        repository.materialize("churn")
        assert stored(view) == (6, 2)
        repository.delete_view("churn")
        assert repository.list_views() == []
        assert stored(view) == (0, 0)

    def test_what_others_hold_of_the_same_entities_stays(
        self, repository, make_view, stored, tmp_path, redis
    ):
        kept, gone = make_view(name="kept"), make_view(name="gone")
        # Its name ends as the team's does, which Feast's own deletion does not tell apart.
        other = FeastRepository(tmp_path / "others", "other_team_a", redis=redis)
        other.apply([gone])
        other.materialize("gone")
        repository.apply([kept, gone])
        repository.materialize("kept")
        repository.materialize("gone")
        repository.delete_view("gone")
        assert repository.get_online_features([{"customer_id": "a"}], ["kept:tenure"])["tenure"] == [5]
        assert other.get_online_features([{"customer_id": "a"}], ["gone:tenure"])["tenure"] == [5]


class TestMaterialize:
    def test_stock_feast_reads_what_was_written(self, repository, make_view):
        repository.apply([make_view()])
        seen = []
        done = repository.materialize("churn", progress=lambda n, total: seen.append((n, total)))
        assert (done.entities, seen) == (2, [(2, 2)])
        store = feast.FeatureStore(str(repository.folder))
        answer = store.get_online_features(REFS, [{"customer_id": c} for c in "abz"]).to_dict()
        assert answer["charges"] == [5.0, None, None]
        assert answer["tenure"] == [5, 2, None]
        assert answer["plan"] == ["z", "", None]

    def test_a_delta_source_is_materialized_too(self, repository, make_view):
        repository.apply([make_view(format="delta")])
        assert repository.materialize("churn").entities == 2

    def test_values_after_the_end_are_not_written(self, repository, make_view):
        repository.apply([make_view()])
        repository.materialize("churn", start=day(0), end=day(3))
        assert repository.get_online_features([{"customer_id": "a"}], REFS)["tenure"] == [3]

    def test_the_registry_knows_the_interval(self, repository, make_view):
        repository.apply([make_view()])
        repository.materialize("churn", start=day(0), end=day(9))
        view = feast.FeatureStore(str(repository.folder)).get_feature_view("churn")
        assert view.materialization_intervals == [(day(0), day(9))]

    def test_materializing_again_updates_and_adds_no_rows(self, repository, make_view, stored):
        view = make_view()
        repository.apply([view])
        repository.materialize("churn", end=day(3))
        repository.materialize("churn")
        assert stored(view) == (6, 2)
        assert repository.get_online_features([{"customer_id": "a"}], REFS)["tenure"] == [5]

    def test_a_null_join_key_is_refused_by_name(self, repository, make_view, history):
        repository.apply([make_view(history.with_columns(customer_id=pl.lit(None, dtype=pl.String)))])
        with pytest.raises(FeatureSourceError, match="customer_id"):
            repository.materialize("churn")

    def test_an_offline_view_is_refused(self, repository, make_view):
        repository.apply([make_view(online=False)])
        with pytest.raises(ConflictError):
            repository.materialize("churn")
