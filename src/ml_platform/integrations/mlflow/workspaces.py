"""Which MLflow workspace is a team's."""

import hashlib
import re

from ml_platform.integrations.mlflow.stores import _RESERVED_NAMES, _WORKSPACE_NAME

_LIKE_MAPPED = re.compile(r".*-[0-9a-f]{8}")
_LONGEST = 63 - 9


def workspace_of(team: str) -> str:
    """The team's own name where MLflow can have it, else one made from it, with a part of its hash.

    MLflow reserves some names (`default` among them) and takes no underscores. No name of a team is another
    team's workspace: what looks like a made name is itself replaced by one.
    """
    if _WORKSPACE_NAME.fullmatch(team) and team not in _RESERVED_NAMES and not _LIKE_MAPPED.fullmatch(team):
        return team
    plain = re.sub(r"[^a-z0-9]+", "-", team.lower()).strip("-")[:_LONGEST].strip("-")
    return f"{plain or 'team'}-{hashlib.sha256(team.encode()).hexdigest()[:8]}"
