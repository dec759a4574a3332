"""Asks a server with KServe's own clients: a program for an interpreter that has `kserve`.

Reads what to ask for as JSON on standard input and writes what came back as JSON. It stands apart because
KServe's protobuf is older than ours.
"""

import asyncio
import json
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

NUMPY = {"BOOL": np.bool_, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_}


def request(task, model=None, *, binary=False, outputs=None, parameters=None, version=None):
    inputs = []
    for given in task["inputs"]:
        each = InferInput(given["name"], given["shape"], given["datatype"])
        data = np.array(given["data"], dtype=NUMPY[given["datatype"]]).reshape(given["shape"])
        each.set_data_from_numpy(data, binary_data=binary)
        inputs.append(each)
    wanted = [RequestedOutput(name) for name in outputs] if outputs else None
    return InferRequest(
        model or task["model"],
        inputs,
        request_id="mine",
        parameters=parameters,
        request_outputs=wanted,
        model_version=version,
    )


def outputs_of(answer):
    return {output.name: output.as_numpy().tolist() for output in answer.outputs}


async def refused(attempt):
    """The status and the words with which an attempt is refused."""
    try:
        await attempt
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return None


async def over_v1(task):
    url, model, key = task["http"], task["model"], {"Authorization": f"Bearer {task['token']}"}
    rows = {"instances": task["instances"]}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        seen = {}
        return {
            "live": await client.is_server_live(url),
            "ready": [await client.is_model_ready(url, name, headers=key) for name in (model, task["idle"])],
            "unknown": await refused(client.is_model_ready(url, "unknown", headers=key)),
            "predict": await client.infer(url, rows, model, headers=key, response_headers=seen),
            "revision": seen["mlops-revision"],
            "addressed": await client.infer(f"{url}/acme/production", rows, model, headers=key),
            "explain": await client.explain(url, task["explained"], task["to_explain"], headers=key),
            "no_key": await refused(client.infer(url, rows, model)),
            "bad": await refused(client.infer(url, {"instances": [{}]}, model, headers=key)),
        }


async def over_v2(task):
    url, model, token = task["http"], task["model"], f"Bearer {task['token']}"

    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:

        async def infer(model=model, url=url, **form):
            # A new dict each time: the client adds its own headers to it.
            given = request(task, model, **form)
            return await client.infer(url, given, model, headers={"Authorization": token})

        async def is_ready(name):
            return await client.is_model_ready(url, name, headers={"Authorization": token})

        in_json = await infer()
        return {
            "live": await client.is_server_live(url),
            "server_ready": await client.is_server_ready(url),
            "ready": [await is_ready(name) for name in (model, task["idle"], "unknown")],
            "id": in_json.id,
            "json": outputs_of(in_json),
            "filtered": outputs_of(await infer(outputs=task["outputs"])),
            "binary": outputs_of(await infer(binary=True, parameters={"binary_data_output": True})),
            "addressed": outputs_of(await infer(url=f"{url}/acme/production")),
            "unknown": await refused(infer("unknown")),
            "no_output": await refused(infer(outputs=["none"])),
        }


async def over_grpc(task):
    model, key = task["model"], (("authorization", f"Bearer {task['token']}"),)
    async with InferenceGRPCClient(task["grpc"]) as client:

        async def infer(model=model, headers=key, **form):
            return await client.infer(request(task, model, **form), headers=headers)

        typed = await infer()
        return {
            "live": await client.is_server_live(headers=key),
            "server_ready": await client.is_server_ready(headers=key),
            "ready": [await client.is_model_ready(name, headers=key) for name in (model, task["idle"])],
            "unknown_ready": await refused(client.is_model_ready("unknown", headers=key)),
            "id": typed.id,
            "version": typed.model_version,
            "typed": outputs_of(typed),
            "raw": outputs_of(await infer(binary=True)),
            "filtered": outputs_of(await infer(binary=True, outputs=task["outputs"])),
            "versioned": outputs_of(await infer(version=task["version"])),
            "unknown": await refused(infer("unknown")),
            "no_version": await refused(infer(version="99")),
            "no_key": await refused(infer(headers=())),
        }


async def everything(task):
    return {"v1": await over_v1(task), "v2": await over_v2(task), "grpc": await over_grpc(task)}


json.dump(asyncio.run(everything(json.load(sys.stdin))), sys.stdout)
