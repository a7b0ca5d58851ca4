"""The API: nodes are let in, have their certificates renewed, and bring frames where there is no broker. No pages."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from cryptography import x509
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sync.central.access import EnrolRefused
from sync.central.admission import Admission
from sync.central.ca import Authority
from sync.central.inbox import Full, Inbox
from sync.central.ingest import read_status
from sync.central.shard import WHOLE, Shard
from sync.format import canonical
from sync.format.canonical import Fields
from sync.format.messages import Status
from sync.format.records import valid_name
from sync.format.sidecar import MAX_SIDECAR_BYTES
from sync.format.wire import MAX_FRAME_BYTES, encode_answers
from sync.storage.database import DatabaseError
from sync.transport.possession import MAX_BYTES as MAX_QUESTION_BYTES
from sync.transport.possession import BadAsk
from sync.transport.tls import common_name, utc_now

log = logging.getLogger(__name__)

BODY_S = 30.0  # a frame of 256 KiB takes as long on a line of 70 kbit/s
ANSWER_S = 20.0  # what waits longer is asked again
QUESTIONS_AT_ONCE = 30  # of one address, about joining; then one a second
QUESTIONS_PER_S = 1.0
_ADDRESSES = 10_000  # remembered at a time
_MAX_STATUS_BYTES = 1024


def create_api(
    directory: Path, authority: Authority, inbox: Inbox, shard: Shard = WHOLE, now: Callable[[], datetime] = utc_now
) -> FastAPI:
    """The application; served with TLS, and asking for a client's certificate without insisting on one.

    shard: whose frames this process judges; another worker's nodes come by the broker.
    """
    admission, budget = Admission(directory, authority), _Budget()
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.get("/v1/ca")
    async def introduce() -> Response:
        return _json(admission.introduction())

    @app.post("/v1/enrol")
    async def enrol(request: Request) -> Response:
        budget.spend(request)
        data = await _body(request, MAX_QUESTION_BYTES)
        return _json(await run_in_threadpool(admission.ask, data, now()), 202)

    @app.get("/v1/enrol/{token_sha256}")
    async def enrolled(token_sha256: str, request: Request) -> Response:
        budget.spend(request)
        try:
            token = bytes.fromhex(token_sha256)
        except ValueError as error:
            raise BadAsk("not the hash of a token") from error
        return _json(await run_in_threadpool(admission.answer, token))

    @app.post("/v1/renew")
    async def renew(request: Request) -> Response:
        budget.spend(request)
        data = await _body(request, MAX_QUESTION_BYTES)
        return _json(await run_in_threadpool(admission.renew, data, now()))

    @app.post("/v1/ingest/{node_id}")
    async def ingest(node_id: str, request: Request) -> Response:
        await _admit(admission, shard, node_id, request)
        frame = await _body(request, MAX_FRAME_BYTES)
        return await _answered(inbox, node_id, frame)

    @app.post("/v1/side/{node_id}")
    async def side(node_id: str, request: Request) -> Response:
        await _admit(admission, shard, node_id, request)
        return await _answered(inbox, node_id, None, side=await _body(request, MAX_SIDECAR_BYTES))

    @app.post("/v1/status/{node_id}")
    async def status(node_id: str, request: Request) -> Response:
        await _admit(admission, shard, node_id, request)
        said = read_status(node_id, await _body(request, _MAX_STATUS_BYTES))
        if said is None:
            raise BadAsk("not a status of this node")
        return await _answered(inbox, node_id, None, said)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return _refusal(error.status_code, "refused", error.detail, error.headers)

    @app.exception_handler(BadAsk)
    async def malformed(_: Request, error: BadAsk) -> Response:
        return _refusal(400, "malformed", str(error))

    @app.exception_handler(EnrolRefused)
    async def not_let_in(_: Request, error: EnrolRefused) -> Response:
        log.warning("not let in reason=%s detail=%s", error.reason, error)
        return _refusal(403, error.reason, str(error))

    @app.exception_handler(DatabaseError)
    async def in_trouble(_: Request, error: DatabaseError) -> Response:
        log.error("api in trouble error=%s", error)
        return _refusal(503, "trouble", "central cannot write; ask again", {"Retry-After": "5"})

    return app


class _Budget:
    """How often one address may ask about joining; those heard of last are remembered."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, request: Request) -> None:
        address, now_s = request.client.host if request.client else "", time.monotonic()
        left, at_s = self._left.pop(address, (float(QUESTIONS_AT_ONCE), now_s))
        left = min(float(QUESTIONS_AT_ONCE), left + (now_s - at_s) * QUESTIONS_PER_S)
        self._left[address] = max(0.0, left - 1), now_s
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        if left < 1:
            raise HTTPException(429, "too many questions from this address", {"Retry-After": "2"})


async def _admit(admission: Admission, shard: Shard, node_id: str, request: Request) -> None:
    """Hold a request to the certificate shown: it is this node's, and in force."""
    der: bytes | None = getattr(request.state, "peer_certificate", None)
    if der is None:
        raise HTTPException(401, "no client certificate was shown")
    certificate = x509.load_der_x509_certificate(der)  # TLS has held it to our authority
    if not valid_name(node_id) or common_name(certificate) != node_id:
        raise HTTPException(403, "the certificate shown is not this node's")
    if not await run_in_threadpool(admission.in_force, certificate.serial_number):
        raise HTTPException(403, "the certificate shown is revoked")
    if not shard.has(node_id):
        raise HTTPException(421, "this node's worker is another; it is reached by the broker")


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise HTTPException(413, f"more than {most} bytes", {"Connection": "close"})
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, "the body did not come", {"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the body did not come whole") from error
    return b"".join(parts)


async def _answered(
    inbox: Inbox, node_id: str, frame: bytes | None, status: Status | None = None, side: bytes | None = None
) -> Response:
    """Hand in what a node brought, and answer with all there is for it."""
    try:
        future = inbox.put(node_id, frame, status, side)
    except Full as error:
        raise HTTPException(429, "answer what is in flight first", {"Retry-After": "1"}) from error
    try:
        answers = await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_S)
    except TimeoutError as error:
        raise HTTPException(503, "busy; send it again", {"Retry-After": "5"}) from error
    return Response(encode_answers(answers), media_type="application/octet-stream")


def _json(fields: Fields, code: int = 200) -> Response:
    return Response(canonical.encode(fields), code, media_type="application/json")


def _refusal(code: int, reason: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
    fields: Fields = {"v": 1, "error": reason, "text": text[:400]}
    return Response(canonical.encode(fields), code, headers, "application/json")
