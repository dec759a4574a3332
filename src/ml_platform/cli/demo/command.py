"""`mlops demo`."""

import shutil
import sys

from ml_platform.cli.context import Output
from ml_platform.cli.demo.stage import Narrator
from ml_platform.cli.local import Home, start
from ml_platform.cli.output import Format, show


def demo(home: Home = None, output: Output = Format.TABLE) -> None:
    """Start the platform and take the churn model from real data to governed, monitored production.

    It leaves the platform running and may be run again.
    """
    from ml_platform.cli.demo.script import run
    from ml_platform.sdk import Platform

    narrator = Narrator()
    with narrator.step(1, "The platform starts"):
        started = start(home)
        narrator.tell(f"API {started['api']}, predictions {started['inference']}, state in {started['home']}")
    with Platform(url=started["api"], key=started["key"]) as admin:
        deployment = run(admin, narrator)
    mlops = "mlops" if shutil.which("mlops") else sys.argv[0]  # `make demo` activates no environment
    narrator.close(
        [
            "",
            f"The platform runs on in the background; its state is in {started['home']}.",
            f"  Console          {started['console']}",
            f"  API docs         {started['docs']}",
            f"  MLflow's screens {started['mlflow']}",
            f"  Sign in (once)   {started['sign_in']}",
            f"  Another link     {mlops} login --web",
            f"  Stop it          {mlops} down",
        ]
    )
    show({"deployment_id": deployment.deployment_id, "endpoint": deployment.endpoint}, output)
