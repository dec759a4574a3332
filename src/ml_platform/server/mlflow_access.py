"""Who may do what in MLflow: our keys and sessions, our policies, one workspace for each team."""

import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from sqlalchemy import select

from ml_platform.contracts.identity import Permission
from ml_platform.integrations.mlflow import (
    MlflowIdentity,
    Refusal,
    bearer_token,
)
from ml_platform.integrations.mlflow.identity import header
from ml_platform.integrations.mlflow.workspaces import workspace_of
from ml_platform.kit.db import Database
from ml_platform.kit.errors import AppError
from ml_platform.kit.tokens import sha256_of
from ml_platform.server.mlflow_governance import MlflowCaller
from ml_platform.services.access import Actor, Authenticator, Authorizer, Resource
from ml_platform.services.access.dependencies import SESSION_COOKIE, TEAM_HEADER
from ml_platform.services.identity.tables import TeamRow

_REMEMBERED_SECONDS = 1.0
_REMEMBERED = 2_000


class MlflowAccess:
    """Answers who sends a request to MLflow.

    An answer is remembered for a second: a training script logs in bursts, and a revoked key may work for
    two seconds at most.
    """

    def __init__(self, database: Database, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._database = database
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._known: dict[str, tuple[float, MlflowIdentity]] = {}
        self._lock = threading.Lock()

    def authenticate(self, scope: MutableMapping[str, Any]) -> MlflowIdentity | Refusal:
        """By bearer token, basic authentication (the key as password), or browser session."""
        token, cookie = bearer_token(scope), None
        if token is None:
            if header(scope, b"authorization") is not None:
                return Refusal(reason="Send an API key as bearer token, or as the password of basic auth")
            cookie = _session_of(scope)
            if cookie is None:
                return Refusal(location="/login")
        team = header(scope, TEAM_HEADER.encode())
        place = sha256_of(f"{token or ''}\0{cookie or ''}\0{team or ''}")
        known = self._known.get(place)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        client = scope.get("client")
        source = client[0] if client else None
        try:
            if token is not None:
                actor = self._authenticator.authenticate(token, team=team, source=source)
            else:
                # MLflow's pages ask again by themselves; opening one of them passes the gate, which counts as use.
                actor = self._authenticator.authenticate_session(
                    cookie or "", team=team, source=source, background=True
                )
        except AppError as error:
            return Refusal(status=error.status, reason=error.detail, location="/login" if cookie else None)
        identity = self._identity(actor)
        self._remember(place, identity)
        return identity

    def _identity(self, actor: Actor) -> MlflowIdentity:
        query = select(TeamRow.id, TeamRow.name)
        if not actor.admin:
            query = query.where(TeamRow.id.in_({*actor.memberships, actor.team_id}))
        with self._database.read() as session:
            teams = {workspace_of(name): (team_id, name) for team_id, name in session.execute(query)}
        return MlflowIdentity(
            user=actor.name,
            workspaces=_Workspaces(actor, teams, self._authorizer),
            default_workspace=workspace_of(actor.team_name) if actor.team_name else None,
            caller=MlflowCaller(actor, teams),
        )

    def _remember(self, place: str, identity: MlflowIdentity) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known = {key: value for key, value in self._known.items() if value[0] > now}
            if len(self._known) < _REMEMBERED:
                self._known[place] = (now + _REMEMBERED_SECONDS, identity)


class _Workspaces(Mapping[str, str]):
    """Role by workspace; the policies are asked about a workspace when it is used."""

    def __init__(self, actor: Actor, teams: Mapping[str, tuple[str, str]], authorizer: Authorizer) -> None:
        self._actor = actor
        self._teams = teams
        self._authorizer = authorizer
        self._decided: dict[str, str | None] = {}

    def __getitem__(self, workspace: str) -> str:
        role = self._role(workspace)
        if role is None:
            raise KeyError(workspace)
        return role

    def __iter__(self) -> Iterator[str]:
        return (workspace for workspace in self._teams if self._role(workspace) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _role(self, workspace: str) -> str | None:
        if workspace not in self._teams:
            return None
        if workspace not in self._decided:
            team_id, _ = self._teams[workspace]
            resource = Resource("team", team_id, team_id)
            role = None
            if self._authorizer.decide(self._actor, Permission.TRAIN_MODEL, resource).allowed:
                role = "write"
            elif self._authorizer.decide(self._actor, Permission.READ, resource).allowed:
                role = "read"
            self._decided[workspace] = role
        return self._decided[workspace]


def _session_of(scope: MutableMapping[str, Any]) -> str | None:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(header(scope, b"cookie") or "")
    except CookieError:
        return None
    morsel = cookies.get(SESSION_COOKIE)
    return morsel.value if morsel is not None and morsel.value else None
