"""Browser sign-in by a one-time link: a code becomes a session cookie, once.

The code travels in the URL's fragment, which browsers do not send and servers do not log; a page of ours
reads it there and posts it.
"""

import base64
import hashlib
import secrets
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field

from ml_platform.contracts.base import RequestModel
from ml_platform.kit import tokens
from ml_platform.kit.errors import UnauthenticatedError
from ml_platform.services.access import Actor, ComponentsOf, WorkFactory
from ml_platform.services.access.dependencies import SESSION_COOKIE
from ml_platform.services.identity.tables import BrowserSessionRow, SignInCodeRow

router = APIRouter(include_in_schema=False)

SESSION_LIFE = timedelta(days=7)

_SCRIPT = """
const code = new URLSearchParams(location.hash.slice(1)).get("code");
history.replaceState(null, "", location.pathname);
const say = (text) => { document.getElementById("state").textContent = text; };
if (!code) { say("This link holds no code. Make a new one: mlops login --web"); }
else fetch("/login", {method: "POST", headers: {"content-type": "application/json"},
                      body: JSON.stringify({code})}).then(async (answer) => {
  if (answer.ok) location.replace("/console/"); else say((await answer.json()).detail);
}).catch(() => say("The platform did not answer."));
"""
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Signing in</title>'
    '<meta name="viewport" content="width=device-width"><body><main><h1>ML Platform</h1>'
    f'<p id="state" role="status">Signing in…</p></main><script>{_SCRIPT}</script></body></html>'
)
_POLICY = (
    f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; connect-src 'self'; frame-ancestors 'none'"
)


class SignIn(RequestModel):
    code: str = Field(min_length=20, max_length=200)


@router.get("/login")
def login_page() -> HTMLResponse:
    """The page that a one-time link opens."""
    headers = {
        "content-security-policy": _POLICY,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
    }
    return HTMLResponse(_PAGE, headers=headers)


@router.post("/login", status_code=204)
def sign_in(body: SignIn, request: Request, response: Response, components: ComponentsOf) -> None:
    """Spends a one-time code for a session cookie."""
    factory = components.get(WorkFactory)
    source = request.client.host if request.client else None
    cookie = secrets.token_urlsafe(32)
    with factory.begin(Actor.system("sign-in"), request_id=request.state.request_id) as work:
        now = work.clock()
        row = work.session.get(SignInCodeRow, tokens.sha256_of(body.code), with_for_update=True)
        if row is None or row.used_at is not None or row.expires_at <= now:
            raise UnauthenticatedError(
                "this link was used before or has expired", hint="make a new one: mlops login --web"
            )
        row.used_at = now
        work.session.add(
            BrowserSessionRow(
                token_sha256=tokens.sha256_of(cookie),
                user_id=row.user_id,
                team_id=row.team_id,
                created_at=now,
                last_seen_at=now,
                expires_at=now + SESSION_LIFE,
                ended_at=None,
            )
        )
        work.record("session.open", "user", row.user_id, team_id=row.team_id, source=source)
    response.set_cookie(
        SESSION_COOKIE,
        cookie,
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        samesite="lax",  # a link in a message must open for who is signed in; changes need the CSRF header
        secure=request.url.scheme == "https",
        path="/",
    )


@router.post("/logout", status_code=204)
def sign_out(request: Request, response: Response, components: ComponentsOf) -> None:
    """Ends the browser session; without one it is a no-op."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie:
        with components.get(WorkFactory).begin(Actor.system("sign-in")) as work:
            row = work.session.get(BrowserSessionRow, tokens.sha256_of(cookie))
            if row is not None and row.ended_at is None:
                row.ended_at = work.clock()
                work.record("session.close", "user", row.user_id, team_id=row.team_id)
    response.delete_cookie(SESSION_COOKIE, path="/")
