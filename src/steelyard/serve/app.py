"""The pages of a run store: an index of its studies as they stand, each study's runs, its report, its cases."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from steelyard.errors import BadData
from steelyard.serve.guard import VIEWER_POLICY, App, Guard
from steelyard.serve.store import SHOWN, Found, Store
from steelyard.serve.viewers import Viewers
from steelyard.study.progress import duration
from steelyard.study.status import summary

SECONDS_BETWEEN_LOOKS = 5  # while a run is under way: as often as runs give signs of life
VIEWERS = ("viewer.html", "report/viewer.html")  # made here from the runs, whatever lies in the folder


def make_app(store: Store, *, port: int | None = None) -> App:
    """The store's pages as an ASGI app. `port` is the only one that requests may name; any when left out."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, HTMLResponse, Response
    from starlette.routing import Route

    viewers = Viewers()

    def index(request: Request) -> Response:
        studies = store.studies()
        running = any(_is_running(found) for found in studies)
        return HTMLResponse(
            _render("index.html.j2", running, studies=studies, cards=store.cards(), store=store.root.name)
        )

    def below(request: Request) -> Response:
        path = request.path_params["path"]
        place = store.split(path)
        if place is None:
            return _missing()
        name, rest = place
        if rest in ("", *VIEWERS):
            found = store.study(name)
            if found is None:
                return _missing()
            if rest == "" and not path.endswith("/"):
                return Response(status_code=307, headers={"location": f"/studies/{quote(name)}/"})
            return _study(found) if rest == "" else _viewer(found)
        file = store.file(name, rest)
        if file is None:
            return _missing()
        kind = SHOWN.get(file.suffix, "application/gzip")
        return FileResponse(file, media_type=kind)

    def _study(found: Found) -> Response:
        return HTMLResponse(
            _render("study.html.j2", _is_running(found), found=found, up="../" * (found.name.count("/") + 2))
        )

    def _viewer(found: Found) -> Response:
        try:
            page = viewers.page(found.folder, back=f"/studies/{quote(found.name)}/")
        except BadData as error:
            return HTMLResponse(_render("line.html.j2", False, line=" ".join(str(error).split())), status_code=404)
        return FileResponse(page, media_type=SHOWN[".html"], headers={"content-security-policy": VIEWER_POLICY})

    def _missing() -> Response:
        return HTMLResponse(_render("line.html.j2", False, line="There is no such page."), status_code=404)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        viewers.close()

    def icon(request: Request) -> Response:
        return Response(status_code=204)  # browsers ask for one whatever a page says

    routes = [Route("/", index), Route("/favicon.ico", icon), Route("/studies/{path:path}", below)]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return Guard(app, port=port)


def _is_running(found: Found) -> bool:
    return found.status is not None and found.status.count("running") > 0


def _render(template: str, is_live: bool, **values: Any) -> str:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("steelyard.serve", "."), PackageLoader("steelyard.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["address"] = quote
    environment.filters["duration"] = duration
    environment.filters["summary"] = summary
    again = SECONDS_BETWEEN_LOOKS if is_live else 0
    return environment.get_template(template).render(again=again, **values)
