"""The register of models, their reviews and their cards."""

import builtins
from pathlib import Path
from typing import Any

from ml_platform.contracts.modelregister import GovernedModel, ModelCard, ModelReview
from ml_platform.sdk.transport import Transport, at


class Governance:
    """`platform.governance`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def models(self) -> list[GovernedModel]:
        """The register, by name: owner, risk, what serves in production, when it is reviewed."""
        return builtins.list(self._transport.pages("/governance/models", GovernedModel))

    def model(self, name: str) -> GovernedModel:
        """One line of the register."""
        return self._transport.get(at("governance", "models", name), GovernedModel)

    def set_owner(self, name: str, user: str) -> GovernedModel:
        """Makes a member of the team answer for a model."""
        return self._transport.put(at("governance", "models", name, "owner"), GovernedModel, {"user": user})

    def reviews(self, name: str) -> list[ModelReview]:
        """Newest first."""
        return builtins.list(self._transport.pages(at("governance", "models", name, "reviews"), ModelReview))

    def review(self, name: str, verdict: str, findings: str, *, dataset: str | None = None) -> ModelReview:
        """Reviews what serves in production: `keep`, `conditions` or `retire`.

        With `dataset`, what serves is judged on those labelled rows, and the review counts as a revalidation.
        """
        body = {"verdict": verdict, "findings": findings, "dataset": dataset}
        return self._transport.post(at("governance", "models", name, "reviews"), ModelReview, body)

    def card(self, name: str, version: int) -> ModelCard:
        """A version's model card, with what is missing in it."""
        return self._transport.get(_card(name, version), ModelCard)

    def set_card(self, name: str, version: int, card: dict[str, Any]) -> ModelCard:
        """Replaces a card as a whole; approvals that were given on the old one are void."""
        return self._transport.put(_card(name, version), ModelCard, {"card": card})

    def export_card(self, name: str, version: int, path: str | Path, *, form: str = "markdown") -> Path:
        """Writes a card to a file, as `markdown` or as an `html` page."""
        return self._transport.download(f"{_card(name, version)}/export", Path(path), {"form": form})


def _card(name: str, version: int) -> str:
    return at("models", name, "versions", str(version), "card")
