"""The texts that come with the package, and which actions an organisation has a say in."""

from importlib.resources import files

from ml_platform.contracts.identity import Permission
from ml_platform.contracts.policies import ENTER

_HERE = files(__package__ or __name__)

SCHEMA = (_HERE / "platform.cedarschema").read_text(encoding="utf-8")
PLATFORM = {
    name: (_HERE / name).read_text(encoding="utf-8") for name in ("platform.cedar", "guardrails.cedar")
}
"""The platform's own policies, by file."""

NEVER = frozenset(
    {
        Permission.READ,
        Permission.PREDICT,
        Permission.READ_AUDIT,
        Permission.READ_METRICS,
        Permission.MANAGE_PLATFORM,
        Permission.SYNC_INFERENCE,
    }
)
"""What policies of an organisation are never asked about.

So nobody is locked out of mending the policies, of the audit log, or of serving, which does not ask anew for
every prediction.
"""
GOVERNED = frozenset(Permission) - NEVER
WIDENABLE = frozenset(
    {
        Permission.READ_DATA,
        Permission.WRITE_DATA,
        Permission.TRAIN_MODEL,
        Permission.DEPLOY_STAGING,
        Permission.DEPLOY_PRODUCTION,
    }
)
"""What a permit of an organisation may give to more of a team's members."""

UNGOVERNED = frozenset({"rollback", "cancel", "pause", ENTER})
"""Operations in whose way no policy of an organisation stands: back to what served before, and through a door."""
