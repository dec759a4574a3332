"""What a request says that its body is."""

from starlette.datastructures import Headers


def is_json(headers: Headers) -> bool:
    """Whether the body is JSON, as FastAPI understands it."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
