"""Forms that only our own pages can send: a token in each, and an Origin that is ours."""

import hmac
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request


def same_origin(request: Request) -> bool:
    """Whether the browser says the request comes from the page's own scheme, host and port; silence is a no."""
    origin = request.headers.get("origin")
    if not origin:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:  # http://[
        return False
    return parts.scheme == request.url.scheme and bool(parts.netloc) and parts.netloc == request.headers.get("host")


def same_token(sent: str, held: str | None) -> bool:
    """Compare in constant time; no token held is a no."""
    return bool(held) and hmac.compare_digest(sent.encode(), str(held).encode())


def new_token() -> str:
    """32 random bytes as text."""
    return secrets.token_urlsafe(32)
