"""The API's description for programs (`/openapi.json`) and for people (`/docs`).

The page is plain HTML that is written once from the description: no script, nothing from elsewhere.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from html import escape
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from ml_platform.contracts.identity import Permission
from ml_platform.contracts.problems import FieldProblem, Problem
from ml_platform.server.gate import OPEN_PATHS, PAGE_HEADERS, STYLE
from ml_platform.services.access import Router, Work, requires

router = Router(include_in_schema=False)

_DEPTH = 4
_Reader = Annotated[Work, requires(Permission.READ)]


class DescribedApp(FastAPI):
    """FastAPI describes errors that it never sends here; this one says what callers get: problems."""

    def openapi(self) -> dict[str, Any]:
        described = self.openapi_schema is not None
        schema = super().openapi()
        if not described:
            _add_problems(schema)
        return schema


def _add_problems(schema: dict[str, Any]) -> None:
    components = schema.setdefault("components", {})
    models = components.setdefault("schemas", {})
    for model in (Problem, FieldProblem):
        models[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
        models[model.__name__].pop("$defs", None)
    for unsent in ("HTTPValidationError", "ValidationError"):
        models.pop(unsent, None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    problem = {
        "description": "Anything else, as a problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problem
            if path not in OPEN_PATHS:
                operation["security"] = [{"key": []}]


@router.get("/openapi.json")
def openapi(request: Request, work: _Reader) -> JSONResponse:  # noqa: ARG001 - it authorises
    """OpenAPI 3.1."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def docs(request: Request, work: _Reader) -> Response:  # noqa: ARG001 - it authorises
    """Every route with its parameters, body and answers."""
    app: FastAPI = request.app
    page = getattr(app.state, "docs_page", None)
    if page is None:
        page = app.state.docs_page = render(app.openapi())
    return HTMLResponse(page, headers=PAGE_HEADERS)


def render(schema: Mapping[str, Any]) -> str:
    """The description as one page."""
    info = schema["info"]
    sections: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            sections.setdefault(tag, []).append("".join(_operation(schema, method, path, operation)))
    index = " · ".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in sections)
    body = "".join(
        f'<section><h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(entries)}</section>'
        for tag, entries in sections.items()
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<main><h1>{title}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>For programs: <a href="/openapi.json">/openapi.json</a>. MLflow\'s screens: '
        f'<a href="/mlflow/">/mlflow/</a>.</p><nav>{index}</nav>{body}</main></html>'
    )


def _operation(
    schema: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    line = f"<code>{method.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}"
    yield f"<details><summary>{line}</summary><p>{escape(operation.get('description', ''))}</p>"
    show = partial(_shape, schema)
    if operation.get("parameters"):
        yield "<h3>Parameters</h3><ul>"
        for item in operation["parameters"]:
            need = "required" if item.get("required") else "optional"
            facts = f"{escape(item['in'])}, {need}, {escape(show(item['schema'], _DEPTH))}"
            yield f"<li><code>{escape(item['name'])}</code> ({facts}) {escape(item.get('description', ''))}"
        yield "</ul>"
    if body := operation.get("requestBody"):
        yield "<h3>Body</h3>"
        for kind, media in body["content"].items():
            yield f"<p>{escape(kind)}</p><pre>{escape(show(media.get('schema', {}), 0))}</pre>"
    yield "<h3>Answers</h3><ul>"
    for status, answer in operation["responses"].items():
        shapes = [show(media.get("schema", {}), 0) for media in answer.get("content", {}).values()]
        shown = "".join(f"<pre>{escape(shape)}</pre>" for shape in shapes)
        yield f"<li><code>{escape(status)}</code> {escape(answer.get('description', ''))}{shown}"
    yield "</ul></details>"


def _shape(schema: Mapping[str, Any], part: Mapping[str, Any], depth: int) -> str:
    """A JSON schema as a sketch of the value that it describes."""
    if "$ref" in part:
        part = schema["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    for joined in ("anyOf", "oneOf", "allOf"):
        if joined in part:
            return " | ".join(dict.fromkeys(_shape(schema, option, depth) for option in part[joined]))
    if "enum" in part:
        return " | ".join(repr(value) for value in part["enum"])
    if part.get("type") == "array":
        return f"[{_shape(schema, part.get('items', {}), depth)}, ...]"
    if "properties" in part and depth < _DEPTH:
        needed = set(part.get("required", ()))
        margin = "  " * (depth + 1)
        lines = [
            f"{margin}{name}{'' if name in needed else '?'}: {_shape(schema, value, depth + 1)}"
            for name, value in part["properties"].items()
        ]
        return "{\n" + "\n".join(lines) + "\n" + "  " * depth + "}"
    return str(part.get("title", "object") if "properties" in part else _bounds(part))


def _bounds(part: Mapping[str, Any]) -> str:
    text = str(part.get("type", "any"))
    words = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
        "minLength": "at least",
        "maxLength": "at most",
        "pattern": "like",
        "default": "default",
    }
    said = [f"{word} {part[key]}" for key, word in words.items() if part.get(key) is not None]
    return f"{text} ({', '.join(said)})" if said else text
