"""Reads InferenceServices as KServe's own client does, and writes them again: what it does not know is lost.

Its types are generated from KServe's published OpenAPI schema, and those within from Kubernetes'. What comes
back for a manifest that is not valid differs from it, or is an error.
"""

import json
import sys

import kserve
import kubernetes.client


class Response:
    def __init__(self, data):
        self.data = json.dumps(data)


def kubernetes_own(data, kind):
    client = kubernetes.client.ApiClient()
    found = client.deserialize(json.dumps(data), kind, "application/json")
    return client.sanitize_for_serialization(found)


def read(manifest):
    spec = json.loads(json.dumps(manifest["spec"]))
    model = spec["predictor"]["model"]
    inner = {"env": model.pop("env"), "resources": model.pop("resources")}
    client = kserve.ApiClient()
    service = kserve.V1beta1InferenceService(
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        spec=client.deserialize(Response(spec), "V1beta1InferenceServiceSpec"),
    )
    written = client.sanitize_for_serialization(service)
    if written["spec"]["predictor"]["model"].get("name") == "":
        del written["spec"]["predictor"]["model"]["name"]  # the client's own default, not the manifest's
    written["spec"]["predictor"]["model"] |= {
        "env": [kubernetes_own(item, "V1EnvVar") for item in inner["env"]],
        "resources": kubernetes_own(inner["resources"], "V1ResourceRequirements"),
    }
    written["metadata"] = kubernetes_own(manifest["metadata"], "V1ObjectMeta")
    return written


def attempt(manifest):
    try:
        return {"manifest": read(manifest)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


json.dump([attempt(manifest) for manifest in json.load(sys.stdin)["manifests"]], sys.stdout)
