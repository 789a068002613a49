"""Tokens: made, listed and revoked by whoever has the scope admin."""

import asyncio
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app.gate.raw_json import MalformedJson, read_json
from app.http.routes.common import Body, bearer, problems
from app.http.routes.examples import TOKEN, TOKEN_REQUEST
from app.problems import Refusal
from app.tokens import Tokens
from schemas.tokens import MadeToken, TokenList, TokenRequest

router = APIRouter(tags=["tokens"], dependencies=[Security(bearer)])


def _tokens(request: Request) -> Tokens:
    return cast(Tokens, request.app.state.tokens)


Desk = Annotated[Tokens, Depends(_tokens)]


def _wanted(body: Body) -> TokenRequest:
    try:
        return TokenRequest.model_validate(read_json(body))
    except MalformedJson as error:
        raise Refusal("malformed_json", f"{error}.") from None
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_context=False, include_url=False)) from None


@router.post(
    "/v1/tokens",
    operation_id="create_token",
    summary="Make a token with some scopes",
    status_code=201,
    response_model=None,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/TokenRequest"},
                    "example": TOKEN_REQUEST,
                }
            },
        }
    },
    responses={
        201: {
            "model": MadeToken,
            "description": "The token, shown this once.",
            "content": {"application/json": {"example": TOKEN}},
        },
        **problems(400, 401, 408, 409, 413, 415, 422),
    },
)
async def create_token(tokens: Desk, wanted: Annotated[TokenRequest, Depends(_wanted)]) -> JSONResponse:
    """For a program, an agent or a person that should not have the owner's token. Kept as its SHA-256 alone."""
    made = await asyncio.to_thread(tokens.make, wanted)
    return JSONResponse(made.to_json(), 201, headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/tokens",
    operation_id="list_tokens",
    summary="Every token but the owner's",
    response_model=None,
    responses={
        200: {
            "model": TokenList,
            "content": {
                "application/json": {"example": {"tokens": [{k: v for k, v in TOKEN.items() if k != "token"}]}}
            },
        },
        **problems(401),
    },
)
async def list_tokens(tokens: Desk) -> JSONResponse:
    """Oldest first, by how each begins; the tokens themselves are nowhere."""
    return JSONResponse(TokenList(tokens=tokens.list()).to_json())


@router.delete(
    "/v1/tokens/{token}",
    operation_id="revoke_token",
    summary="Revoke a token",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "Nobody gets in by it any more."}, **problems(401, 404)},
)
async def revoke_token(
    tokens: Desk, token: Annotated[str, Path(description="The token's id, or its name.", examples=["ci"])]
) -> Response:
    """At once, for every request that comes from now on. Not reversible: make another."""
    await asyncio.to_thread(tokens.revoke, token)
    return Response(status_code=204)
