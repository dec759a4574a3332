"""Asks a server with Triton's own client: a program for an interpreter that has `tritonclient` alone.

Reads what to ask for as JSON on standard input and writes what came back as JSON. It stands apart because
Triton's messages and ours have the same names, of which one process can hold only one.
"""

import json
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def array(given):
    kind = object if given["datatype"] == "BYTES" else triton_to_np_dtype(given["datatype"])
    return np.array(given["data"], dtype=kind).reshape(given["shape"])


def results(answer, names):
    found = {}
    for name in names:
        values = answer.as_numpy(name)
        found[name] = [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]
    return found


def over_http(task):
    client = tritonclient.http.InferenceServerClient(task["http"])
    headers = {"Authorization": f"Bearer {task['token']}"}
    model, names = task["model"], task["outputs"]

    def infer(*, binary, version="", outputs=None, model=model):
        inputs = []
        for given in task["inputs"]:
            each = tritonclient.http.InferInput(given["name"], given["shape"], given["datatype"])
            each.set_data_from_numpy(array(given), binary_data=binary)
            inputs.append(each)
        wanted = [tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in outputs or ()]
        own = dict(headers)  # the client adds its own to it, and would send them again with the next request
        return client.infer(model, inputs, version, wanted or None, request_id="mine", headers=own)

    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(model, headers=headers),
        "unknown_ready": client.is_model_ready("unknown", headers=headers),
        "server": client.get_server_metadata(headers=headers)["name"],
        "metadata": client.get_model_metadata(model, headers=headers),
        "binary": results(infer(binary=True), names),
        "json": results(infer(binary=False, outputs=names), names),
        "versioned": results(infer(binary=True, version=task["version"], outputs=names), names),
        "id": infer(binary=True).get_response()["id"],
    }
    try:
        infer(binary=True, model="unknown")
    except InferenceServerException as error:
        found["error"] = [error.status(), error.message()]
    return found


def over_grpc(task):
    client = tritonclient.grpc.InferenceServerClient(task["grpc"])
    headers = {"authorization": f"Bearer {task['token']}"}
    model, names = task["model"], task["outputs"]

    def infer(*, version="", outputs=None, model=model):
        inputs = []
        for given in task["inputs"]:
            each = tritonclient.grpc.InferInput(given["name"], given["shape"], given["datatype"])
            each.set_data_from_numpy(array(given))
            inputs.append(each)
        wanted = [tritonclient.grpc.InferRequestedOutput(name) for name in outputs or ()]
        return client.infer(model, inputs, version, wanted or None, request_id="mine", headers=headers)

    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(model, headers=headers),
        "server": client.get_server_metadata(headers=headers).name,
        "metadata": client.get_model_metadata(model, headers=headers, as_json=True),
        "raw": results(infer(), names),
        "versioned": results(infer(version=task["version"], outputs=names), names),
        "id": infer().get_response().id,
    }
    try:
        infer(model="unknown")
    except InferenceServerException as error:
        found["error"] = [error.status(), error.message()]
    return found


task = json.load(sys.stdin)
json.dump({"http": over_http(task), "grpc": over_grpc(task)}, sys.stdout)
