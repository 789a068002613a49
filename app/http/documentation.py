"""The documentation page: Swagger UI from this service's own origin, so that it needs no network."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

PAGE = "/docs"
_SCRIPT, _STYLE = f"{PAGE}/swagger-ui-bundle.js", f"{PAGE}/swagger-ui.css"
ASSETS = {_SCRIPT: "text/javascript", _STYLE: "text/css"}

# The package brings Swagger UI's distribution, current and whole; nothing else of it is used.
_DISTRIBUTION = files("fastapi_offline").joinpath("static")

router = APIRouter(include_in_schema=False)


@router.get(PAGE)
async def show_documentation(request: Request) -> HTMLResponse:
    """The API, to read and to try. Asks nobody else: no CDN, no validator, no icon."""
    return get_swagger_ui_html(
        openapi_url=f"{request.scope.get('root_path', '')}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=_SCRIPT,
        swagger_css_url=_STYLE,
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"persistAuthorization": True, "validatorUrl": None},
    )


@router.get(_SCRIPT)
@router.get(_STYLE)
async def get_asset(request: Request) -> Response:
    """A file of Swagger UI."""
    name = request.url.path.rpartition("/")[2]
    headers = {"Cache-Control": "max-age=3600"}
    return Response(_DISTRIBUTION.joinpath(name).read_bytes(), media_type=ASSETS[f"{PAGE}/{name}"], headers=headers)
