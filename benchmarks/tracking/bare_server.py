"""Our tracking server alone: the application mounted at /mlflow, every request checked by hashed token.

bare_server.py <directory> <port> <token>
"""

import hashlib
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from ml_platform.integrations.mlflow import (
    MlflowIdentity,
    MlflowSettings,
    Refusal,
    bearer_token,
    create_mlflow_app,
)


def main() -> None:
    home, port, token = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    identity = MlflowIdentity("bench", {"bench": "write"}, "bench")
    known = {hashlib.sha256(token.encode()).hexdigest(): identity}

    def authenticate(scope):
        return known.get(hashlib.sha256((bearer_token(scope) or "").encode()).hexdigest()) or Refusal()

    settings = MlflowSettings(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    app = Starlette(routes=[Mount("/mlflow", create_mlflow_app(settings, authenticate))])
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
