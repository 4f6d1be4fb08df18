"""The files of pages, read once from the packages that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources

from aiohttp import web

__all__ = ["Files"]

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    tag: str


class Files:
    """The files in folders, each of a package, by name."""

    def __init__(self, *folders: tuple[str, str]) -> None:
        found: dict[str, _File] = {}
        for package, folder in folders:
            for file in resources.files(package).joinpath(folder).iterdir():
                kind = _TYPES.get(file.name.rpartition(".")[2])
                if kind is not None:
                    body = file.read_bytes()
                    found[file.name] = _File(body, kind, sha256(body).hexdigest()[:16])
        self._files: Mapping[str, _File] = found

    @property
    def names(self) -> frozenset[str]:
        """What there is."""
        return frozenset(self._files)

    def answer(self, request: web.Request, name: str) -> web.Response:
        """A file, or 304 for who has it already; 404 for a name that is none of these."""
        file = self._files.get(name)
        if file is None:
            raise web.HTTPNotFound
        response = web.Response(body=file.body, content_type=file.content_type, charset="utf-8")
        # Asked again each time, so that a newer release is seen at once.
        response.headers["Cache-Control"] = "no-cache"
        response.etag = file.tag
        if any(each.value == file.tag for each in request.if_none_match or ()):
            return web.Response(status=304, headers={"ETag": f'"{file.tag}"'})
        return response
