"""The contract for people and machines: /openapi.json as it is published, and /docs without a network."""

from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response

from app.errors import NotFound
from app.events import ANNOUNCED
from app.problems import Problem, declared

router = APIRouter(include_in_schema=False)

DESCRIPTION = """Trains tabular models as a service. POST a job; what comes back is a validated, tuned, evaluated, gated
and registered model version, and a signed webhook when it is ready to deploy.

Every error is a problem document (RFC 9457) with a stable `code`. Where a POST lists the header `Idempotency-Key`, the
same key and body within 24 hours give the first answer again; what does not list it may be repeated as it is. Lists are
pages: follow `next_cursor`."""
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon-32x32.png": "image/png",
}  # fmt: skip
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"
)
PROTECTED = (401, 403)
HARMLESS = frozenset({"test_connection", "complete_dataset", "find_erasure_impact"})
"""Operations that are asked by POST and take no Idempotency-Key: they change nothing, or nothing more the second time."""
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "1 to 255 printable ASCII characters; the same key and body give the first answer again for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255}, "example": "nightly-2026-11-23",
}  # fmt: skip
SIGNED_HEADERS = {
    "webhook-id": "the event's id, the same on every attempt: use it to drop repeats",
    "webhook-timestamp": "seconds since 1970 of this attempt: refuse what is older than five minutes",
    "webhook-signature": "space-separated `v1,` signatures: base64 of HMAC-SHA256 over `id.timestamp.body`",
}


def publish(app: FastAPI) -> None:
    """Serves the contract of `app`; call it when all routers are in."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = contract(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document
    app.include_router(router)


def contract(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document: FastAPI's, with what all operations share written into each."""
    document = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, path=path, method=method)
    schemas = document["components"]["schemas"]
    for automatic in ("HTTPValidationError", "ValidationError"):
        schemas.pop(automatic, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    document["webhooks"] = {name: {"post": _webhook(name)} for name in sorted(ANNOUNCED)}
    return document


def _complete(operation: dict[str, Any], *, path: str, method: str) -> None:
    responses = operation["responses"]
    automatic = responses.get("422", {}).get("content", {})
    if "application/json" in automatic:
        del responses["422"]
    parameters = operation.get("parameters", [])
    refused = {500, *(PROTECTED if "security" in operation else ())}
    if path.startswith("/v1"):
        refused |= {400, 503}
    if parameters or "requestBody" in operation:
        refused |= {422}
    if "{" in path:
        refused |= {404}
    if "requestBody" in operation:
        refused |= {413}
    if method == "post" and "security" in operation:
        refused |= {409, 422}
    if method == "post" and "security" in operation and operation["operationId"] not in HARMLESS:
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    for status, answer in declared(*sorted(refused)).items():
        responses.setdefault(str(status), answer)
    operation["responses"] = dict(sorted(responses.items()))


def _webhook(name: str) -> dict[str, Any]:
    headers = [
        {"name": header, "in": "header", "required": True, "description": words, "schema": {"type": "string"}}
        for header, words in SIGNED_HEADERS.items()
    ]
    body = {
        "type": "object", "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": name}, "timestamp": {"type": "string", "format": "date-time"}, "data": {"type": "object"},
        },
    }  # fmt: skip
    return {
        "operationId": "on_" + name.replace(".", "_"),
        "summary": f"Sent to webhooks that listen to {name}",
        "tags": ["webhooks"],
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "2XX": {
                "description": "Taken, within 15 seconds; anything else is tried again, up to ten times in 75 hours."
            },
            "410": {"description": "Not wanted any more: the webhook is disabled."},
        },
    }


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The contract as a page to read and to try out."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json", title="Trainhouse", swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css", swagger_favicon_url="/docs/favicon-32x32.png",
        swagger_ui_parameters={"persistAuthorization": False, "displayRequestDuration": True, "validatorUrl": None,
                               "docExpansion": "list", "defaultModelsExpandDepth": 0},
    )  # fmt: skip
    page.headers["Content-Security-Policy"] = PAGE_POLICY
    return page


@router.get("/docs/{asset}")
def docs_asset(asset: str) -> Response:
    """A file of the page, out of the installed package."""
    if asset not in ASSETS:
        raise NotFound
    content = resources.files("fastapi_swagger").joinpath("resources", asset).read_bytes()
    return Response(content, media_type=ASSETS[asset], headers={"Cache-Control": "public, max-age=86400"})
