"""What lives for an ``async with`` block."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["Scoped"]


class Scoped(ABC):
    """Is closed at the end of the ``async with`` block that it is used in, or by hand."""

    __slots__ = ()

    @abstractmethod
    async def aclose(self) -> None:
        """Close it, and wait until that is done."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
