"""OpenTelemetry's own variables as settings of ours, for who sets nothing else.

What cannot be used is said once and passed over, as OpenTelemetry asks for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

AUTO = -1.0
"""A ratio that stands for all requests, up to so many a second."""

TRACES_PATH = "/v1/traces"

_log = logging.getLogger(__name__)
COMPRESSIONS = ("none", "gzip")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(r"[\x20-\x7e]*\Z")


class _Sampler(NamedTuple):
    ratio: float | None  # None is the sampler's argument
    follow: bool


_SAMPLERS = {
    "always_on": _Sampler(1.0, follow=False),
    "always_off": _Sampler(0.0, follow=False),
    "traceidratio": _Sampler(None, follow=False),
    "parentbased_always_on": _Sampler(1.0, follow=True),
    "parentbased_always_off": _Sampler(0.0, follow=True),
    "parentbased_traceidratio": _Sampler(None, follow=True),
}


def standard_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings, by name, that OpenTelemetry's variables ask for."""
    given = {
        name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()
    }
    exporters = [name.strip() for name in given.get("OTEL_TRACES_EXPORTER", "otlp").split(",")]
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true" or "otlp" not in exporters:
        return {}
    address = _of_exporter(given, "ENDPOINT")
    found = {
        "traces_endpoint": given.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or (address.rstrip("/") + TRACES_PATH if address else None),
        "traces_headers": _of_exporter(given, "HEADERS"),
        "traces_ca_file": _of_exporter(given, "CERTIFICATE"),
        **_resource(given),
    }
    if found["traces_endpoint"] is None:
        return {}
    protocol = _of_exporter(given, "PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        _log.warning("no traces are sent: OTLP is spoken as http/protobuf, not as %s", protocol)
        return {}
    try:
        check_endpoint(found["traces_endpoint"])
    except ValueError as error:
        _log.warning("no traces are sent: %s", error)
        return {}
    compression = _of_exporter(given, "COMPRESSION")
    if compression in COMPRESSIONS:
        found["traces_compression"] = compression
    elif compression:
        _log.warning("traces are not compressed: %r is not known", compression)
    found |= _sampling(given)
    return {name: value for name, value in found.items() if value is not None}


def check_endpoint(url: str) -> str:
    """The full address of a collector; without a path `/v1/traces` is meant.

    Raises ValueError unless it is an http or https address without a name and a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        shown = url if parts.username is None else "an address with a password in it"
        raise ValueError(
            f"traces_endpoint: {shown!r} is not an http(s) address; secrets go into traces_headers"
        )
    _ = parts.port  # raises ValueError when it is no number
    if parts.path in {"", "/"}:
        parts = parts._replace(path=TRACES_PATH)
    return parts.geturl()


def pairs(text: str, what: str) -> dict[str, str]:
    """`name=value,name=value`, the values percent-encoded; raises ValueError without showing a value."""
    found = {}
    for number, part in enumerate(text.split(","), 1):
        name, equals, value = part.partition("=")
        if not part.strip():
            continue
        if not equals or not name.strip():
            raise ValueError(f"{what}: expected name=value,name=value; part {number} is none")
        found[name.strip()] = unquote(value.strip())
    return found


def headers_of(text: str) -> dict[str, str]:
    """The headers to send along; raises ValueError, without showing a value, when one cannot be sent."""
    found = pairs(text, "traces_headers")
    for name, value in found.items():
        if not _HEADER.match(name) or not _VALUE.match(value):
            raise ValueError(
                f"traces_headers: {name[:100]!r} is no header, or has a value that none can have"
            )
    return found


def _of_exporter(given: Mapping[str, str], what: str) -> str | None:
    return given.get(f"OTEL_EXPORTER_OTLP_TRACES_{what}") or given.get(f"OTEL_EXPORTER_OTLP_{what}")


def _resource(given: Mapping[str, str]) -> dict[str, str | None]:
    attributes = given.get("OTEL_RESOURCE_ATTRIBUTES")
    try:
        named = pairs(attributes or "", "OTEL_RESOURCE_ATTRIBUTES").get("service.name")
    except ValueError as error:
        _log.warning("%s", error)
        attributes = named = None
    return {
        "traces_attributes": attributes,
        "traces_service": given.get("OTEL_SERVICE_NAME") or named,
    }


def _sampling(given: Mapping[str, str]) -> dict[str, str | None]:
    name = given.get("OTEL_TRACES_SAMPLER")
    if name is None:
        return {}
    sampler = _SAMPLERS.get(name.lower())
    if sampler is None:
        _log.warning("OTEL_TRACES_SAMPLER: %r is not known", name)
        return {}
    ratio = sampler.ratio
    if ratio is None:
        argument = given.get("OTEL_TRACES_SAMPLER_ARG", "1")
        try:
            ratio = float(argument)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            _log.warning("OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1, got %r", argument)
            return {}
    return {"traces_ratio": str(ratio), "traces_follow": str(sampler.follow).lower()}
