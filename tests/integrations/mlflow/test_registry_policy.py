"""No write to the registry escapes the policy: generated from MLflow's own routes, so that a new one cannot."""

import pytest

from ml_platform.integrations.mlflow.errors import RequestRefusedError
from ml_platform.integrations.mlflow.graphql_guard import READING_MUTATIONS, check_graphql
from ml_platform.integrations.mlflow.guards import REGISTRY_OPERATIONS
from ml_platform.integrations.mlflow.routes import ROUTES, Access, Kind, RouteTable
from tests.integrations.mlflow.test_access import _example
from tests.integrations.mlflow.tokens import ANN

READS_BY_POST = {"registered-models/get-latest-versions"}
# What the writes that are offered are about. One of another kind has to be looked at, and then stands here.
FAMILIES = {
    "experiments", "runs", "logged-models", "registered-models", "model-versions", "traces", "datasets",
    "upload-artifact",
}  # fmt: skip


def registry_routes():
    """Every call of MLflow's registry service, prompts and webhooks included, at every path it has."""
    from mlflow.server import app

    found = set()
    for rule in app.url_map.iter_rules():
        parts = set(rule.rule.split("/"))
        if parts & {"registered-models", "model-versions", "webhooks", "prompts", "prompt-optimization"}:
            found |= {(method, _example(rule.rule)) for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert len(found) > 60
    return sorted(found)


class TestTheRoutes:
    def test_of_the_registry_that_write_are_asked_about_or_not_offered(self):
        asked = set()
        for method, path in registry_routes():
            route = RouteTable().find(method, path)
            if route is None or method == "GET" or route.operation in READS_BY_POST:
                continue
            assert route.access is Access.WRITE, (method, path)
            assert (route.operation, method) in REGISTRY_OPERATIONS, (method, path)
            asked.add((route.operation, method))
        assert asked == REGISTRY_OPERATIONS

    def test_that_write_anything_are_of_known_families(self):
        for route in ROUTES:
            if route.access is Access.WRITE and route.kind is Kind.FLASK:
                assert route.operation.partition("/")[0] in FAMILIES, route

    def test_that_only_read_cannot_be_reached_with_a_body_that_writes(self):
        for route in ROUTES:
            if route.access is Access.READ and route.method != "GET":
                last = route.operation.rpartition("/")[2]
                assert last.startswith(("search", "batchGet", "get-latest", "metrics", "calculate")) or (
                    route.operation in ("graphql", "search-datasets")
                ), route

    def test_of_files_delete_none(self):
        assert not [route for route in ROUTES if route.method == "DELETE" and "artifacts" in route.path]


class TestGraphQL:
    def test_offers_no_mutation_that_is_not_known_to_read(self):
        from mlflow.server.graphql.graphql_schema_extensions import schema

        fields = set(schema.graphql_schema.mutation_type.fields)
        assert fields <= READING_MUTATIONS, "a new mutation: does it change anything?"
        assert schema.graphql_schema.subscription_type is None

    @pytest.mark.parametrize(
        "query",
        [
            "mutation { setRegisteredModelAlias(name: 1) { x } }",
            "mutation { mlflowSearchRuns: deleteModel { x } }",
            "mutation { ...F } fragment F on Mutation { deleteModel }",
            "query { a } mutation B { deleteModel { x } }",
            "subscription { anything }",
        ],
    )
    def test_changes_nothing(self, server, query):
        with pytest.raises(RequestRefusedError) as refused:
            check_graphql({"query": query})
        assert refused.value.status == 403
        answer = server.http(ANN).post("/graphql", json={"query": query})
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")

    @pytest.mark.parametrize("query", [None, 5, "{", "{" * 30_000, "a" * 60_000])
    def test_that_is_none_is_wrong_input(self, query):
        with pytest.raises(RequestRefusedError) as refused:
            check_graphql({"query": query})
        assert refused.value.status == 400

    def test_of_the_screens_goes_on(self, server):
        query = "mutation S($data: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $data) { runs { info { runId } } } }"
        body = {"query": query, "variables": {"data": {"experimentIds": ["0"]}}, "operationName": "S"}
        assert server.http(ANN).post("/graphql", json=body).status_code == 200


class TestVersions:
    @pytest.mark.parametrize("spelling", ["x", "1.5", "", " ", [1], {"a": 1}, True])
    def test_that_are_no_number_are_refused(self, server, spelling):
        body = {"name": "any", "version": spelling, "key": "a", "value": "b"}
        answer = server.http(ANN).post("/api/2.0/mlflow/model-versions/set-tag", json=body)
        assert answer.status_code == 400

    @pytest.mark.parametrize("spelling", ["1", 1, "01", "+1", " 1 ", "\u0661"])
    def test_are_known_by_their_number_however_spelt(self, spelling):
        from ml_platform.integrations.mlflow.guards import _version

        assert _version(spelling) == "1"
