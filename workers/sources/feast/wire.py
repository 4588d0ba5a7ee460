"""One Feast server's JSON, asked for and checked; its refusals become errors in Feast's own words."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from app.egress.asking import Answer, ask
from app.errors import SourceRefused, SourceUnavailable, TrainhouseError, bounded
from app.settings import settings
from workers.context import ConnectionRef, Context
from workers.sources.base import without_secrets

T = TypeVar("T")
CALL_SECONDS = 60.0
LONGEST_SECONDS = 3_600.0
MAX_ANSWER_BYTES = 256 * 1024**2
POLL_SECONDS = 0.2
PASSING = frozenset({429, 502, 503, 504})


def call(method: str, url: str, found: ConnectionRef, ctx: Context, *, document: Any = None) -> Any:
    """The JSON that the server answers with.

    Raises:
        EgressDenied: the URL may not be reached.
        SourceRefused: Feast refuses, or what answers is no Feast.
        SourceUnavailable: it does not answer within a minute, or not now.
    """
    headers = {"Accept": "application/json"} | bearer(found)
    body = b"" if document is None else json.dumps(document).encode()
    if body:
        headers["Content-Type"] = "application/json"
    seconds = max(1.0, min(CALL_SECONDS, ctx.deadline - time.monotonic()))
    answer = waited(ctx, lambda: ask(method, url, headers=headers, body=body, seconds=seconds,
                                     max_bytes=MAX_ANSWER_BYTES, settings=settings()))  # fmt: skip
    if answer.status != 200:
        raise _refusal(answer, found)
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise not_feast(found, "what it says is no JSON") from None


def bearer(found: ConnectionRef) -> dict[str, str]:
    """The header that authorises, where the connection has a token."""
    token = found.secret.get("token")
    return {"Authorization": f"Bearer {token}"} if token else {}


def waited(ctx: Context, work: Callable[[], T], *, stop: Callable[[], None] = lambda: None) -> T:
    """What `work` gives, run beside this thread, which meanwhile watches for a job that must stop.

    Raises:
        Whatever `work` or `ctx.progress` raises; `stop` is called in the latter case.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # it is raised again where it is waited for
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True, name="feast")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            ctx.progress(0, 1)
    except BaseException:
        stop()
        raise
    if failures:
        raise failures[0]
    return results[0]


def _refusal(answer: Answer, found: ConnectionRef) -> TrainhouseError:
    """Whose turn it is after an answer that is no 200."""
    said = feast_words(answer.body.decode("utf-8", "replace"))
    if answer.status in PASSING or (answer.status >= 500 and not said):
        return SourceUnavailable(f"A server of connection {found.name!r} answers {answer.status} at present.")
    if 300 <= answer.status < 400:
        return SourceRefused(f"A server of connection {found.name!r} answers with a redirect, which is not followed.",
                             code="redirected", hint="Give the connection the address that it leads to.")  # fmt: skip
    if answer.status in {401, 403}:
        return refused(found, said or f"it answers {answer.status}", code="source_refused",
                       hint="Check the connection's token, and what Feast permits its bearer.")  # fmt: skip
    return refused(found, said or f"it answers {answer.status}", code=_code(said))


def refused(found: ConnectionRef, said: str, *, code: str, hint: str = "") -> SourceRefused:
    """A refusal in Feast's words, bounded and without secrets."""
    words = bounded(" ".join(without_secrets(said, found).split()))
    return SourceRefused(f"Feast (connection {found.name!r}) refuses: {words}", code=code,
                         hint=hint or "Compare the source with `feast feature-views list` and `feast feature-services list`.")  # fmt: skip


def not_feast(found: ConnectionRef, why: str) -> SourceRefused:
    """What answers at the connection's address does not speak as Feast does."""
    return SourceRefused(f"A server of connection {found.name!r} does not answer as Feast does: {bounded(why)}.",
                         code="not_feast", hint="Check the addresses of the connection.")  # fmt: skip


def refusal_of(said: str, found: ConnectionRef) -> SourceRefused:
    """The refusal that Feast's words `said` mean."""
    return refused(found, said, code=_code(said))


def _code(said: str) -> str:
    lower = said.lower()
    if "does not exist" in lower and "feature service" in lower:
        return "unknown_feature_service"
    if "does not exist" in lower and "feature view" in lower:
        return "unknown_feature_view"
    return "source_refused"


def feast_words(text: str) -> str:
    """The sentence inside Feast's way of saying an error: JSON in a string, with `message` or `detail`; "" if none."""
    said: Any = text
    for _layer in range(3):
        if isinstance(said, dict):
            said = said.get("message") or said.get("detail") or ""
        elif isinstance(said, str):
            try:
                said = json.loads(said)
            except (ValueError, RecursionError):
                return "" if said is text else said
        else:
            break
    return said if isinstance(said, str) else json.dumps(said) if isinstance(said, list) else ""
