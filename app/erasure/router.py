"""Erasure over HTTP."""

from fastapi import APIRouter, Request

from app.db import transaction
from app.erasure import service
from app.erasure.schemas import ErasureOut, ErasureRequest
from app.http import EarlyReader, StoreDep, StrictRoute, VaultDep

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["models"])


@router.post("/erasure-impact", operation_id="find_erasure_impact")
def find_erasure_impact(
    wanted: ErasureRequest, request: Request, caller: EarlyReader, vault: VaultDep, store: StoreDep
) -> ErasureOut:
    """Which versions learned from rows, or were judged by them; what is kept of rows for this are keyed hashes of their ids."""
    with transaction(request.app.state.engine) as session:
        found = service.candidates(session, caller.project_id, model=wanted.model)
    # Keys come from the store, which may take its time: no connection of the database waits for them.
    return ErasureOut.model_validate(service.impact(store, vault, caller.project_id, wanted.rows, found))
