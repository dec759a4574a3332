"""Feast's feature server: `POST /get-online-features`, also below `/{team}/{environment}`.

Bodies and answers are those of the server that comes with Feast, read from the same store; its own client
(`online_store: type: remote`) works with this one. Any feature view of the team can be asked for. Refusals
are Feast's: a JSON text that its client makes an exception of.
"""

from __future__ import annotations

from ml_platform.contracts.serving import READ_FEATURES
from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.errors import MethodNotAllowed, NotFound
from ml_platform.inference.featurestores.feastserver import OpenStore, parse, refusal
from ml_platform.inference.protocols.addresses import Address
from ml_platform.inference.protocols.http import (
    Receive,
    Scope,
    Send,
    carry_out,
    check_json,
    common_headers,
    read_body,
    respond,
)

ROOT = "/get-online-features"


class Feast:
    """The routes of Feast's feature server that read."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._stores: dict[tuple[str, str], OpenStore] = {}

    async def handle(
        self, scope: Scope, receive: Receive, send: Send, call: Call, address: Address
    ) -> tuple[str, int]:
        headers: Headers = dict(scope["headers"])

        async def attempt() -> int:
            if address.rest != ROOT:
                raise NotFound("there is no such route")
            if scope["method"] != "POST":
                raise MethodNotAllowed("this route answers POST")
            body = await self._answer(headers, receive, address)
            await respond(send, 200, common_headers(call, headers), body)
            return 200

        return ROOT, await carry_out(call, headers, send, attempt, refusal)

    async def _answer(self, headers: Headers, receive: Receive, address: Address) -> bytes:
        plane = self._plane
        key = plane.authorise(headers.get(b"authorization"), READ_FEATURES)
        environment = address.environment_for(headers)
        team, store = plane.feature_store(key, address.team, environment)
        check_json(headers)
        raw = await read_body(receive, headers, plane.settings.max_body_bytes, plane.settings.body_timeout)
        request = parse(raw, plane.settings.max_rows)
        opened = self._stores.get((team, environment))
        if opened is None or not opened.still_reads(store):
            if opened is not None:
                await opened.close()
            settings = plane.settings
            opened = self._stores[team, environment] = OpenStore(
                store, plane.feature_gate(store), settings.features_deadline_ms, settings.online_store()
            )
        return await opened.answer(request)
