"""Model cards as people read and write them."""

from typing import Any

from ml_platform.contracts.governance import RiskLevel
from ml_platform.contracts.modelregister import ModelCard
from ml_platform.services.access import Work
from ml_platform.services.governance.cards import CardFacts, markdown, missing_sections
from ml_platform.services.governance.interfaces import ModelDirectory
from ml_platform.services.governance.personal_data import PersonalDataCheck, risk_of_version
from ml_platform.services.governance.repository import GovernanceRepository
from ml_platform.services.governance.risks import risk_facts


class CardService:
    """Cards of the versions of the team of `work`, with the risk that each would be deployed by."""

    def __init__(self, work: Work, models: ModelDirectory, check: PersonalDataCheck | None = None) -> None:
        self._work = work
        self._models = models
        self._check = check
        self._repository = GovernanceRepository(work.session, work.team_id)

    def get(self, name: str, version: int) -> ModelCard:
        return self._card(self._models.card(self._work, name, version))

    def set(self, name: str, version: int, card: dict[str, Any]) -> ModelCard:
        self._models.set_card(self._work, name, version, card)
        return self.get(name, version)

    def _card(self, found: CardFacts) -> ModelCard:
        row = self._repository.risk(found.name)
        row = risk_of_version(self._check, self._work.session, row, found.version)
        owner = self._repository.owners([found.name]).get(found.name)
        missing = missing_sections(found.card, RiskLevel(row.level) if row is not None else None)
        created_by = self._models.get_model(self._work, found.name).created_by
        return ModelCard(
            model_id=found.model_id,
            name=found.name,
            version=found.version,
            revision=found.revision,
            written_by=found.written_by,
            written_at=found.written_at,
            card=dict(found.card),
            missing=missing,
            markdown=markdown(
                found,
                risk_facts(row) if row is not None else None,
                owner.owner_name if owner is not None else created_by,
                missing,
            ),
        )
