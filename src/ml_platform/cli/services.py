"""`mlops services`: the services that really run, as a document for those who use them."""

from ml_platform.cli.context import Output, platform, show
from ml_platform.cli.local import running_at
from ml_platform.cli.output import Format


def services(output: Output = Format.YAML) -> None:
    """Describe the services that run: name, kind, address, protocol, version and health.

    Each is asked before it is listed. `mlops services > platform_services.yaml` keeps the answer.
    """
    here = platform()
    url = here.connection.url
    state = running_at(url) or {}
    inference = {p["name"]: p.get("url") for p in state.get("processes", [])}.get("inference")
    found = here.services.list(inference_url=inference)
    if output is Format.TABLE:
        show(found, output)
        return
    show({"platform": {"url": url, "team": here.identity.whoami().team}, "services": found}, output)
