"""`/docs`: every route, by Swagger UI from this machine, since a cluster often reaches no content delivery network."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

_SCRIPT, _STYLE, _ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"
_DAY_SECONDS = 86400


def documentation_routes(title: str) -> APIRouter:
    """The page and its files, none of which is in the description itself.

    All is named relative to the page, which may stand behind a proxy that takes a prefix off.
    """
    router = APIRouter(include_in_schema=False)
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=title,
        swagger_js_url=f"docs/{_SCRIPT}",
        swagger_css_url=f"docs/{_STYLE}",
        swagger_favicon_url=f"docs/{_ICON}",
    )

    async def docs() -> Response:
        return page

    async def asset(name: str) -> Response:
        if name not in (_SCRIPT, _STYLE, _ICON):
            raise HTTPException(404)
        return FileResponse(_assets() / name, headers={"cache-control": f"max-age={_DAY_SECONDS}"})

    router.add_api_route("/docs", docs)
    router.add_api_route("/docs/{name}", asset)
    return router


@cache
def _assets() -> Path:
    """Looked for when somebody wants to read, and not at the start."""
    return Path(str(files("fastapi_offline") / "static"))
