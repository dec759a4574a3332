"""GraphQL reads. MLflow's screens send some of their searches as mutations: those are known by name."""

from typing import Any

from ml_platform.integrations.mlflow.errors import denied, invalid

READING_MUTATIONS = frozenset({"mlflowSearchRuns", "mlflowSearchDatasets", "testMutation"})
"""Every mutation that MLflow offers and that changes nothing; one that a later version adds is refused."""
_LONGEST = 50_000


def check_graphql(body: dict[str, Any]) -> None:
    """Refuse a document that could change something.

    Raises:
        RequestRefusedError: it is no document, subscribes, or asks for a mutation that is not a search.
    """
    from graphql import FieldNode, GraphQLError, OperationDefinitionNode, OperationType, parse

    text = body.get("query")
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise invalid(f"query must be a GraphQL document of at most {_LONGEST:,} characters")
    try:
        document = parse(text, no_location=True, max_tokens=10_000)
    except (GraphQLError, RecursionError) as error:
        raise invalid("The query is not a GraphQL document") from error
    for definition in document.definitions:
        if not isinstance(definition, OperationDefinitionNode) or definition.operation is OperationType.QUERY:
            continue
        for node in definition.selection_set.selections:
            name = node.name.value if isinstance(node, FieldNode) else "a fragment"
            if definition.operation is not OperationType.MUTATION or name not in READING_MUTATIONS:
                raise denied(f"GraphQL changes nothing here: {name} is not offered as a mutation")
