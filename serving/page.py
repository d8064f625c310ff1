"""The page at ``/``: one file, which loads nothing from elsewhere and may not."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

FILE = Path(__file__).with_name("page.html")


async def answer(request: Request) -> Response:
    text, headers = _page()
    return HTMLResponse(text, headers=headers)


@cache
def _page() -> tuple[str, dict[str, str]]:
    text = FILE.read_text("utf-8")
    policy = (
        f"default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; style-src {_hash(text, 'style')}; "
        f"script-src {_hash(text, 'script')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


def _hash(text: str, element: str) -> str:
    """Of the one element of this name, as the policy has it."""
    found = re.search(rf"<{element}>(.*?)</{element}>", text, re.S)
    assert found
    return f"'sha256-{b64encode(sha256(found[1].encode()).digest()).decode()}'"
