"""Jobs: queue, list, look at, wait for, cancel."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, Security
from fastapi.responses import JSONResponse

from app.http.routes.common import LARGEST_SEQ, Body, Key, Services, bearer, job_answer, problems, request_body
from app.http.routes.examples import JOB_ID, PAYLOAD, VIEW
from app.problems import Refusal
from app.service import LONGEST_WAIT, Until
from schemas.job import TERMINAL, JobPage, JobState, JobView
from schemas.result import JobPayload

router = APIRouter(tags=["jobs"], dependencies=[Security(bearer)])

JobId = Annotated[str, Path(description="The job's id.", examples=[JOB_ID])]
_JOB = {"model": JobView, "content": {"application/json": {"example": VIEW}}}


@router.post(
    "/v1/jobs",
    operation_id="create_job",
    summary="Queue a training",
    status_code=202,
    response_model=None,
    openapi_extra=request_body(),
    responses={
        202: {**_JOB, "description": "Durable from now on."},
        **problems(400, 401, 408, 410, 413, 415, 422, 429),
    },
)
async def create_job(service: Services, body: Body, key: Key) -> JSONResponse:
    """Accept a job and answer at once. Lost the answer? Send it again with the same Idempotency-Key."""
    submitted = await service.submit(body, key)
    return job_answer(await service.view(submitted.row, submitted.warnings), 202)


@router.get(
    "/v1/jobs",
    operation_id="list_jobs",
    summary="Jobs, newest first",
    response_model=None,
    responses={
        200: {"model": JobPage, "content": {"application/json": {"example": {"jobs": [VIEW], "nextCursor": JOB_ID}}}},
        **problems(401, 422),
    },
)
async def list_jobs(
    service: Services,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in one of these states; repeatable.")] = None,
    label: Annotated[
        str | None, Query(description="Only jobs with this label: `key:value`.", examples=["dataset:digits"])
    ] = None,
    cursor: Annotated[str | None, Query(description="`nextCursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs per page.")] = 20,
) -> JSONResponse:
    """A page of jobs."""
    return JSONResponse((await service.jobs(state or [], _pair(label), cursor, limit)).to_json())


def _pair(label: str | None) -> tuple[str, str] | None:
    """``key:value`` or ``key=value``, cut at whichever comes first."""
    if label is None:
        return None
    cut = min((place for place in (label.find(":"), label.find("=")) if place > 0), default=None)
    if cut is None:
        raise Refusal("parameter_invalid", f"label is {label[:100]!r}; expected key:value.")
    return label[:cut], label[cut + 1 :]


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="get_job",
    summary="A job; or wait until something happens to it",
    response_model=None,
    responses={
        200: {**_JOB, "description": "The job, at the latest when the wait ends."},
        **problems(401, 404, 410, 422),
    },
)
async def get_job(
    service: Services,
    job_id: JobId,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait at most.")] = 0,
    until: Annotated[
        Until, Query(description="What to wait for: its end, a change of state, or the end of an epoch.")
    ] = "terminal",
    after: Annotated[
        int | None,
        Query(ge=-1, le=LARGEST_SEQ, description="`lastSeq` of the view you have; what came after it counts as news."),
    ] = None,
) -> JSONResponse:
    """State, figures and a one-line summary. One bounded wait takes the place of polling."""
    row = await (service.wait(job_id, until, after, wait) if wait else service.row(job_id))
    return JSONResponse((await service.view(row)).to_json())


@router.get(
    "/v1/jobs/{job_id}/result",
    operation_id="get_job_result",
    summary="What a job returned",
    response_model=None,
    responses={
        200: {
            "model": JobPayload,
            "description": "The payload, with status error when the training failed or was cancelled.",
            "content": {"application/json": {"example": PAYLOAD}},
        },
        202: {**_JOB, "description": "Not settled yet."},
        **problems(401, 404, 410),
    },
)
async def get_job_result(service: Services, job_id: JobId) -> JSONResponse:
    """The payload of a settled job, as often as it is asked for."""
    row = await service.row(job_id)
    payload = await service.payload(row)
    return job_answer(await service.view(row), 202) if payload is None else JSONResponse(payload)


@router.delete(
    "/v1/jobs/{job_id}",
    operation_id="delete_job",
    summary="Delete a job that has ended",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is gone, or was before."}, **problems(401, 404, 409)},
)
async def delete_job(service: Services, job_id: JobId) -> Response:
    """Its events, its log and its own folder with the checkpoints in it; what lies under `saveDir` stays. Not reversible:
    what is asked of it from then on is answered with 410 and what is known."""
    await service.delete(job_id)
    return Response(status_code=204)


_ASKED = {
    202: {**_JOB, "description": "Asked; the worker saves a checkpoint at its next step. Look at the state."},
    200: {**_JOB, "description": "It is so already."},
    **problems(401, 404, 409, 410),
}


def _asked(view: JobView) -> JSONResponse:
    settled = view.state in TERMINAL or view.state == "paused"
    return job_answer(view, 200 if settled else 202)


@router.post(
    "/v1/jobs/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Save and stop; the job has no result",
    status_code=202,
    response_model=None,
    responses=_ASKED,
)
async def cancel_job(service: Services, job_id: JobId) -> JSONResponse:
    """Not reversible, but the last checkpoint is kept and can be gone on from. It may still end as succeeded. Asking again
    changes nothing."""
    return _asked(await service.view(await service.act(job_id, "cancel")))


@router.post(
    "/v1/jobs/{job_id}/stop",
    operation_id="stop_job",
    summary="Save and stop; what is trained is the result",
    status_code=202,
    response_model=None,
    responses=_ASKED,
)
async def stop_job(service: Services, job_id: JobId) -> JSONResponse:
    """Good enough: the job ends as early_stopped, with the curve so far and its best checkpoint."""
    return _asked(await service.view(await service.act(job_id, "stop")))


@router.post(
    "/v1/jobs/{job_id}/pause",
    operation_id="pause_job",
    summary="Save, and give the device to others",
    status_code=202,
    response_model=None,
    responses=_ASKED,
)
async def pause_job(service: Services, job_id: JobId) -> JSONResponse:
    """It is `paused` once all that it has trained is saved, and holds no device then. One that could not save is never
    paused: it fails, or is tried again from what it had."""
    return _asked(await service.view(await service.act(job_id, "pause")))


@router.post(
    "/v1/jobs/{job_id}/resume",
    operation_id="resume_job",
    summary="Queue a paused job again",
    status_code=202,
    response_model=None,
    responses=_ASKED,
)
async def resume_job(service: Services, job_id: JobId) -> JSONResponse:
    """In its old place in the queue; it goes on exactly where it was."""
    return _asked(await service.view(await service.act(job_id, "resume")))


@router.post(
    "/v1/jobs/{job_id}/retry",
    operation_id="retry_job",
    summary="Train again what failed or was cancelled",
    status_code=202,
    response_model=None,
    responses={202: {**_JOB, "description": "A new job."}, **problems(401, 404, 409, 410, 422, 429)},
)
async def retry_job(
    service: Services,
    job_id: JobId,
    key: Key,
    anew: Annotated[bool, Query(description="From the beginning, and not from what the job has saved.")] = False,
) -> JSONResponse:
    """A new job of the same request, with the model file as it is now; it goes on from the newest checkpoint."""
    submitted = await service.retry(job_id, key, anew=anew)
    return job_answer(await service.view(submitted.row, submitted.warnings), 202)
