"""A query parameter that a route does not know is refused: misspelt, it would change the answer unnoticed."""

from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute

from ml_platform.kit.errors import BadInputError

_LONGEST = 100


async def only_known_parameters(request: Request) -> None:
    """A dependency of every route below `/api/v1`; asynchronous, so that it costs no thread."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    known = parameters_of(route)
    for name in request.query_params:
        if name not in known:
            raise BadInputError.of(name[:_LONGEST], _refusal(name, known))


def parameters_of(route: APIRoute) -> list[str]:
    """The names that a route takes in its query."""
    declared = get_flat_params(route.dependant)
    return sorted({f.alias for f in declared if getattr(f.field_info, "in_", None) is ParamTypes.query})


def _refusal(name: str, known: list[str]) -> str:
    if not known:
        return "is no parameter of this route; it takes none"
    near = get_close_matches(name[:_LONGEST], known, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"is no parameter of this route; it takes {', '.join(known)}{meant}"
