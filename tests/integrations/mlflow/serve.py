"""A real server for the tests: the application mounted at /mlflow, started as a process of its own.

Usage: serve.py <directory>. Reads `tokens.json` there ({token: {user, workspaces, default}}), writes the
address to `address` once it listens.
"""

import hashlib
import json
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from ml_platform.integrations.mlflow import (
    MlflowIdentity,
    MlflowSettings,
    Refusal,
    RegistryWrite,
    RegistryWriteRefusedError,
    bearer_token,
    create_mlflow_app,
)


def refuse_frozen(write: RegistryWrite) -> None:
    if write.action == "delete_registered_model" and write.model.startswith("frozen"):
        raise RegistryWriteRefusedError(f"{write.model} is deployed in production")


def main() -> None:
    home = Path(sys.argv[1])
    hashed = {
        hashlib.sha256(token.encode()).hexdigest(): MlflowIdentity(
            user=grant["user"],
            workspaces=grant["workspaces"],
            default_workspace=grant["default"],
            internal=grant.get("internal", False),
        )
        for token, grant in json.loads((home / "tokens.json").read_text()).items()
    }

    def authenticate(scope):
        token = bearer_token(scope)
        if token is None:
            cookies = dict(scope["headers"]).get(b"cookie", b"").decode()
            token = dict(part.strip().split("=", 1) for part in cookies.split(";") if "=" in part).get(
                "session"
            )
        identity = hashed.get(hashlib.sha256((token or "").encode()).hexdigest())
        return identity or Refusal(location="/sign-in")

    settings = MlflowSettings(
        f"sqlite:///{home}/mlflow.db", str(home / "artifacts"), max_artifact_bytes=2**21
    )
    app = Starlette(routes=[Mount("/mlflow", create_mlflow_app(settings, authenticate, refuse_frozen))])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", loop="uvloop", http="httptools"))

    class Announcing(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            port = self.servers[0].sockets[0].getsockname()[1]
            unfinished = home / "address.new"
            unfinished.write_text(f"http://127.0.0.1:{port}")
            unfinished.replace(home / "address")

    Announcing(server.config).run()


if __name__ == "__main__":
    main()
