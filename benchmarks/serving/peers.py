"""The servers that people use today, and the floors: what a bare program can reach."""

import json
from pathlib import Path

import payloads
from contestants import Command, Contestant, Grpc, v2_forms
from environments import Environment
from model import Model
from payloads import Form

APPS = Path(__file__).parent / "apps"
UVICORN = ("--host", "127.0.0.1", "--no-access-log", "--log-level", "warning", "--workers", "1")


def peers() -> list[Contestant]:
    def apps(model: Model) -> dict[str, str]:
        return {"MODEL": str(model.joblib), "BUNDLE": str(model.bundle), "PYTHONPATH": str(APPS)}

    def uvicorn(app: str):
        return lambda env, _: lambda _home, port, _grpc: [env.bin / "uvicorn", app, "--port", port, *UVICORN]

    def program(name: str, *more):
        return lambda env, _: lambda home, port, grpc: [
            env.bin / "python", APPS / name, *(str(one).format(port=port, grpc=grpc, home=home) for one in more)
        ]  # fmt: skip

    def flat(_: Model) -> dict[str, Form]:
        return {"own JSON": payloads.flat()}

    pandas = "pandas_and_sklearn"
    return [
        Contestant("fastapi", "FastAPI + pandas, as most teams write it", "peer", pandas, "fastapi",
                   uvicorn("fastapi_pandas:app"), flat, apps),
        Contestant("mlflow", "`mlflow models serve`", "peer", pandas, "mlflow", _mlflow,
                   lambda _: {"MLflow JSON": payloads.records("/invocations", "dataframe_records")},
                   lambda _: {"MLFLOW_DISABLE_TELEMETRY": "true"}),
        Contestant("mlserver", "MLServer (sklearn runtime)", "peer", pandas, "mlserver", _mlserver,
                   lambda model: {"V2 JSON": payloads.v2_json(
                       "/v2/models/churn/infer", model.manifest(model.bundle).signature.inputs,
                       output="predict_proba", pandas=True)},
                   grpc=Grpc({"request": {"content_type": "pd"}, "string": {"content_type": "str"}})),
        Contestant("kserve", "KServe Python server", "peer", pandas, "kserve",
                   program("kserve_server.py", "--http_port={port}", "--grpc_port={grpc}", "--workers=1",
                           "--enable_latency_logging=false"),
                   lambda model: {"V1": payloads.records("/v1/models/churn:predict", "instances"),
                                  **v2_forms(model)},
                   apps, grpc=Grpc(typed=True)),
        Contestant("bentoml", "BentoML, with adaptive batching", "peer", pandas, "bentoml",
                   lambda env, _: lambda _home, port, _grpc: [
                       env.bin / "bentoml", "serve", "bento_service:Churn", "--working-dir", APPS,
                       "--port", port, "--host", "127.0.0.1"],
                   lambda _: {"own JSON": payloads.records("/predict", "rows")},
                   lambda model: apps(model) | {"BENTOML_DO_NOT_TRACK": "True"}),
        Contestant("litserve", "LitServe, with batching", "peer", pandas, "litserve",
                   program("litserve_server.py", "{port}"), flat, apps),
        Contestant("ray", "Ray Serve", "peer", pandas, "ray",
                   program("ray_server.py", "{port}", "{home}"), flat,
                   lambda model: apps(model) | {"RAY_USAGE_STATS_ENABLED": "0"}),
        Contestant("ray_batched", "Ray Serve, with `@serve.batch`", "peer", pandas, "ray",
                   program("ray_server.py", "{port}", "{home}", "batched"), flat,
                   lambda model: apps(model) | {"RAY_USAGE_STATS_ENABLED": "0"}),
        Contestant("fastapi_onnx", "FastAPI + ONNX Runtime, async, no pandas", "floor", "onnxruntime_with_feed",
                   "onnx", uvicorn("fastapi_onnx:app"), flat, apps),
    ]  # fmt: skip


def floors() -> list[Contestant]:
    def apps(model: Model) -> dict[str, str]:
        return {"BUNDLE": str(model.bundle), "PYTHONPATH": str(APPS)}

    def bare(app: str):
        return lambda env, _: lambda _home, port, _grpc: [
            env.bin / "uvicorn", app, "--port", port, *UVICORN, "--loop", "uvloop", "--http", "httptools"
        ]  # fmt: skip

    def granian(env: Environment, _: Model) -> Command:
        return lambda _home, port, _grpc: [
            env.bin / "granian", "--interface", "asgi", "--workers", "1", "--port", port, "--host", "127.0.0.1",
            "--no-ws", "--log-level", "warning", "floor_constant:app",
        ]  # fmt: skip

    constant = Form("/predict", payloads.as_json, None)
    return [
        Contestant("constant", "floor: raw ASGI on uvicorn, constant answer", "floor", None, "onnx",
                   bare("floor_constant:app"), lambda _: {"own JSON": constant}, apps),
        Contestant("granian", "floor: raw ASGI on Granian, constant answer", "floor", None, "onnx",
                   granian, lambda _: {"own JSON": constant}, apps),
        Contestant("by_hand", "floor: raw ASGI on uvicorn + msgspec + ONNX Runtime + micro-batching, by hand",
                   "floor", "onnxruntime_with_feed", "onnx", bare("floor_batched:app"),
                   lambda _: {"own JSON": payloads.flat()}, apps),
    ]  # fmt: skip


def _mlflow(env: Environment, model: Model) -> Command:
    return lambda _home, port, _grpc: [
        env.bin / "mlflow", "models", "serve", "--model-uri", model.mlflow, "--env-manager", "local",
        "--host", "127.0.0.1", "--port", port, "--workers", "1",
    ]  # fmt: skip


def _mlserver(env: Environment, model: Model) -> Command:
    def command(home: Path, port: int, grpc: int) -> list:
        settings = {
            "http_port": port, "grpc_port": grpc, "host": "127.0.0.1", "parallel_workers": 1, "debug": False,
            "metrics_port": 0, "metrics_endpoint": None,
        }  # fmt: skip
        (home / "settings.json").write_text(json.dumps(settings))
        of_model = {
            "name": "churn",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(model.joblib), "extra": {"predict_fn": "predict_proba"}},
        }
        (home / "model-settings.json").write_text(json.dumps(of_model))
        return [env.bin / "mlserver", "start", home]

    return command
