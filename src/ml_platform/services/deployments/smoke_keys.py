"""The platform's own keys at the inference servers, derived from one secret and never stored.

The service key reads status and metrics. A smoke key is made for one revision, reaches only its team,
and is in the snapshot only while the smoke test may run. A team's key carries the predictions that people ask
for through the control plane, which has asked the policies about them; it reaches only its team, too.
"""

from ml_platform.contracts.serving import INFERENCE_INTERNAL, PREDICT, READ_METRICS, ServingKey
from ml_platform.kit.tokens import derived_token, service_token, sha256_of
from ml_platform.services.deployments.tables import RevisionRow


class SmokeKeys:
    """Tokens are functions of the secret, so a restart in the middle of a smoke test makes no other."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def service_token(self) -> str:
        return service_token(self._secret)

    def service_key(self) -> ServingKey:
        return ServingKey(
            key_id="control-plane",
            token_sha256=sha256_of(self.service_token()),
            team=None,
            permissions=(INFERENCE_INTERNAL, READ_METRICS),
        )

    def token(self, revision_id: str) -> str:
        return derived_token(self._secret, f"inference:{revision_id}")

    def key(self, revision: RevisionRow, team_name: str) -> ServingKey:
        """With `inference_internal`, since only that may ask for one revision by name."""
        return ServingKey(
            key_id=f"smoke-{revision.id}",
            token_sha256=sha256_of(self.token(revision.id)),
            team=team_name,
            permissions=(PREDICT, INFERENCE_INTERNAL),
            expires_at=revision.smoke_until,
        )

    def team_token(self, team_name: str) -> str:
        return derived_token(self._secret, f"predictions:{team_name}")

    def team_key(self, team_name: str, requests_per_second: float | None) -> ServingKey:
        """With `inference_internal`, since an explanation is asked of the revision that has just predicted."""
        return ServingKey(
            key_id=f"control-plane-{team_name}",
            token_sha256=sha256_of(self.team_token(team_name)),
            team=team_name,
            permissions=(PREDICT, INFERENCE_INTERNAL),
            team_requests_per_second=requests_per_second,
        )
