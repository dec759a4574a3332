"""The web console: its files, built into the package, behind the same gate as everything else.

One page answers every address below `/console/`; what it shows is asked of the REST API. The content security
policy lets in no script but the console's own files, and styles only from them or with the nonce of this answer.
"""

import gzip
import mimetypes
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ml_platform.contracts.identity import Permission
from ml_platform.server.gate import PAGE_HEADERS, STYLE
from ml_platform.services.access import Router, Work, requires

router = Router(include_in_schema=False)

PREFIX = "/console"
BUILT = Path(__file__).parent / "static" / "console"
_NONCE = "%STYLE_NONCE%"
_FOREVER = "private, max-age=31536000, immutable"  # the names of assets hold the digest of their contents
_NOT_BUILT = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>ML Platform</title>'
    f"<style>{STYLE}</style><main><h1>The console is not built</h1>"
    "<p>This is a source checkout whose console has not been built. Run <code>make console</code> there; "
    "it brings what it needs. Everything that the console does, <code>mlops --help</code> can do as well.</p></main></html>"
)


@dataclass(frozen=True)
class _File:
    content: bytes
    packed: bytes | None
    media_type: str


class Console:
    """The built files, read once: some hundred kilobytes that nothing from outside can change or leave."""

    def __init__(self, folder: Path = BUILT) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in (sorted(folder.rglob("*")) if folder.is_dir() else [])
            if path.is_file()
        }

    def answer(self, request: Request, path: str) -> Response:
        """A file of that name, or the page, which knows its addresses itself."""
        page = self._files.get("index.html")
        if page is None:
            return HTMLResponse(_NOT_BUILT, status_code=503, headers=PAGE_HEADERS)
        if path.startswith("assets/") or (path in self._files and path != "index.html"):
            return self._file(request, path)
        nonce = secrets.token_urlsafe(16)
        text = page.content.decode().replace(_NONCE, nonce)
        return HTMLResponse(
            text, headers={"content-security-policy": _policy(nonce), "cache-control": "no-store"}
        )

    def _file(self, request: Request, path: str) -> Response:
        file = self._files.get(path)
        if file is None:
            return Response("there is no such file", status_code=404, media_type="text/plain")
        headers = {
            "cache-control": _FOREVER if path.startswith("assets/") else "no-cache",
            "vary": "accept-encoding",
        }
        if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                file.packed, media_type=file.media_type, headers={**headers, "content-encoding": "gzip"}
            )
        return Response(file.content, media_type=file.media_type, headers=headers)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    text = kind.startswith("text/") or kind in {"application/javascript", "image/svg+xml"}
    return _File(content, gzip.compress(content, 6) if text else None, kind)


def _policy(nonce: str) -> str:
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


_Reader = Annotated[Work, requires(Permission.READ)]


@router.get("/")
def start(work: _Reader) -> Response:  # noqa: ARG001 - it authorises
    """The platform's address leads to its console."""
    return RedirectResponse(f"{PREFIX}/", status_code=307)


@router.get(PREFIX)
def without_slash(work: _Reader) -> Response:  # noqa: ARG001 - it authorises
    return RedirectResponse(f"{PREFIX}/", status_code=307)


@router.get(f"{PREFIX}/{{path:path}}")
def page_or_file(request: Request, path: str, work: _Reader) -> Response:  # noqa: ARG001 - it authorises
    """A file of the console, or its page."""
    console: Console = request.app.state.console
    return console.answer(request, path)
