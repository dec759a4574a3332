"""The parts that OpenLineage's events are made of, as its published facets have them."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid5

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_VERSIONS = {
    "DatasetVersionDatasetFacet": "1-0-1",
    "ErrorMessageRunFacet": "1-0-1",
    "JobTypeJobFacet": "2-0-4",
    "OutputStatisticsOutputDatasetFacet": "1-0-2",
    "OwnershipJobFacet": "1-0-1",
    "ProcessingEngineRunFacet": "1-1-1",
    "SchemaDatasetFacet": "1-2-0",
    "TagsDatasetFacet": "1-0-0",
    "TagsRunFacet": "1-0-0",
}
_SOURCE = "ML_PLATFORM"
_RUNS = UUID("5d0f3f52-6c1c-5a55-9b0e-7f0d4c3a2b61")
"""The name space of run ids; changing it would make every run another one."""

Facet = dict[str, Any]


def run_id(our_id: str) -> str:
    """The same run for the same thing of ours, always."""
    return str(uuid5(_RUNS, our_id))


class Facets:
    """Facets by one producer.

    Args:
        version: of the platform.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.producer = f"urn:ml-platform:{version}"

    def job(self, kind: str, team: str) -> dict[str, Facet]:
        return {
            "jobType": self._of("JobTypeJobFacet", processingType="BATCH", integration=_SOURCE, jobType=kind),
            "ownership": self._of("OwnershipJobFacet", owners=[{"name": f"team:{team}", "type": "TEAM"}]),
        }

    def run(self, tags: Mapping[str, object], error: str | None) -> dict[str, Facet]:
        facets = {
            "processing_engine": self._of(
                "ProcessingEngineRunFacet", version=self.version, name="ml-platform"
            ),
            "tags": self._of("TagsRunFacet", tags=_tags(tags)),
        }
        if error is not None:
            facets["errorMessage"] = self._of(
                "ErrorMessageRunFacet", message=error, programmingLanguage="PYTHON"
            )
        return facets

    def dataset(
        self, version: str, fields: Iterable[Mapping[str, str]] = (), **tags: object
    ) -> dict[str, Facet]:
        facets = {"version": self._of("DatasetVersionDatasetFacet", datasetVersion=version)}
        if columns := [dict(field) for field in fields]:
            facets["schema"] = self._of("SchemaDatasetFacet", fields=columns)
        if found := _tags(tags):
            facets["tags"] = self._of("TagsDatasetFacet", tags=found)
        return facets

    def rows(self, count: int | None) -> dict[str, Facet]:
        """Of an output; nothing when nobody counted."""
        if count is None:
            return {}
        return {"outputStatistics": self._of("OutputStatisticsOutputDatasetFacet", rowCount=count)}

    def _of(self, name: str, /, **fields: Any) -> Facet:
        url = f"{_FACETS}/{_VERSIONS[name]}/{name}.json#/$defs/{name}"
        return {"_producer": self.producer, "_schemaURL": url, **fields}


def _tags(values: Mapping[str, object]) -> list[dict[str, str]]:
    return [
        {"key": key, "value": str(value), "source": _SOURCE}
        for key, value in values.items()
        if value is not None
    ]
