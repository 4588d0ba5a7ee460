"""Erasure over HTTP."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.erasure import service
from app.erasure.schemas import ErasureOut, ErasureRequest
from app.http import Reader, ReadOnce, SessionDep, StoreDep, StrictRoute, VaultDep

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["models"])


@router.post("/erasure-impact", operation_id="find_erasure_impact", response_model=ErasureOut)
def find_erasure_impact(
    wanted: ErasureRequest, caller: Reader, session: SessionDep, vault: VaultDep, store: StoreDep, once: ReadOnce
) -> Response:
    """Which versions learned from rows, or were judged by them; what is kept of rows for this are keyed hashes of their ids."""
    found = service.candidates(session, caller.project_id, model=wanted.model)
    answer = service.impact(store, vault, caller.project_id, wanted.rows, found)
    return once.answer(200, ErasureOut.model_validate(answer))
