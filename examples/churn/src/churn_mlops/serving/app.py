"""The team's HTTP service: `POST /predict` with raw customer fields, `GET /health`.

Start it with `uvicorn --factory churn_mlops.serving.app:create_app`. It forwards to the platform's endpoint
(`CHURN_ENDPOINT`, `CHURN_API_KEY`), or serves a saved model in its own process (`CHURN_MODEL_PATH`).
It keeps no authentication of its own: put it behind the caller's gateway, or call the platform directly.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pandas as pd
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from churn_mlops import __version__
from churn_mlops.models.inference import ChurnPredictor, EndpointError
from churn_mlops.serving.body_limit import BodyLimit
from churn_mlops.serving.request import Customer, Prediction

MAX_BODY_BYTES = 16 * 1024


class SettingsError(RuntimeError):
    """The service was started without saying where predictions come from."""


def create_app(environment: Mapping[str, str] | None = None) -> FastAPI:
    """Build the service from `environment` (default: the process's own).

    Raises:
        SettingsError: neither or both of `CHURN_ENDPOINT` and `CHURN_MODEL_PATH` are set, or no key.
        FileNotFoundError, ModelFileError: the saved model cannot be loaded.
    """
    predictor, source = _predictor(os.environ if environment is None else environment)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        predictor.close()

    app = FastAPI(title="Churn prediction", version=__version__, lifespan=lifespan)
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(EndpointError, _upstream_failed)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "source": source}

    # Synchronous on purpose: the model computes and the endpoint's client blocks, so both belong in a thread.
    @app.post("/predict")
    def predict(customer: Customer) -> Prediction:
        (answer,) = predictor.predict(pd.DataFrame([customer.features()]))
        return Prediction(churn_probability=answer.churn_probability, prediction=answer.prediction)

    return app


def _predictor(environment: Mapping[str, str]) -> tuple[ChurnPredictor, str]:
    endpoint, path = environment.get("CHURN_ENDPOINT"), environment.get("CHURN_MODEL_PATH")
    if bool(endpoint) == bool(path):
        raise SettingsError(
            "set CHURN_ENDPOINT (with CHURN_API_KEY) to forward to the platform, or CHURN_MODEL_PATH to "
            "serve a saved model, and not both"
        )
    if path:
        return ChurnPredictor.from_path(path), "model"
    key = environment.get("CHURN_API_KEY")
    if not key:
        raise SettingsError("CHURN_ENDPOINT needs CHURN_API_KEY")
    return ChurnPredictor.from_endpoint(str(endpoint), key), "endpoint"


def _refuse(_: Request, error: Exception) -> JSONResponse:
    """422 that names each field; the offending values are not repeated: they may not even be valid JSON."""
    assert isinstance(error, RequestValidationError)
    errors = [_field_error(item) for item in error.errors()]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
    return _problem(422, "Invalid customer", detail, errors=errors)


def _field_error(item: Mapping[str, Any]) -> dict[str, str]:
    path = [str(part) for part in item["loc"] if part != "body"]
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "json_invalid":
        return {"field": "body", "message": "must be valid JSON"}
    if not path and ": " in message:  # two fields that disagree: the message names the one to change
        field, _, message = message.partition(": ")
        return {"field": field, "message": message}
    return {"field": ".".join(path)[:100] or "body", "message": message}


def _http_problem(_: Request, error: Exception) -> JSONResponse:
    """Unknown paths, wrong methods, and bodies that JSON cannot hold (too deep, numbers too long)."""
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, HTTPStatus(error.status_code).phrase, error.detail)


def _upstream_failed(_: Request, error: Exception) -> JSONResponse:
    """504 when the platform did not answer in time, 503 when it is overloaded or away, else 502."""
    assert isinstance(error, EndpointError)
    status = error.status if error.status in {503, 504} else 503 if error.status in {None, 429} else 502
    return _problem(status, "No prediction", str(error))


def _problem(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(content, status, media_type="application/problem+json")
