"""Policies in Python files: loaded at the start, and run with a deadline."""

import asyncio
import logging
import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final, assert_never

from natkit.errors import ConfigError
from natkit.machine import Failure
from sip_proxy.events import RunHook
from sip_proxy.hooks import (
    AskedRegistration,
    AskedRequest,
    Decision,
    FailedBranch,
    Hooks,
    Point,
    Proceed,
    ReturningResponse,
    Subject,
)

__all__ = ["HookRunner", "hook_runner", "load_hooks"]

NAME: Final = "hooks"
"""What a file of policies calls its instance of Hooks."""

MODULE: Final = "sip_proxy_policies"
"""The module that a file becomes."""

_METHODS: Final = {
    Point.REQUEST: "on_request",
    Point.RESPONSE: "on_response",
    Point.REGISTER: "on_register",
    Point.BRANCH_FAILURE: "on_branch_failure",
}

_log = logging.getLogger(__name__)


def load_hooks(source: Path | str) -> Hooks:
    """The hooks of a file, or of a module by its name; ConfigError says what is wrong with it."""
    try:
        module = _module_of(source) if isinstance(source, Path) else import_module(source)
    except Exception as error:
        if isinstance(error, OSError) and error.filename == str(source):
            raise ConfigError(f"cannot read the hooks in {source}: {error.strerror}") from error
        raise ConfigError(f"{source}: {type(error).__name__}: {error}") from error
    found = getattr(module, NAME, None)
    if not isinstance(found, Hooks):
        raise ConfigError(
            f"{source} has no {NAME} = …, an instance of a class of sip_proxy.hooks.Hooks"
        )
    return found


def _module_of(file: Path) -> ModuleType:
    loader = SourceFileLoader(MODULE, str(file))
    module = ModuleType(MODULE)
    module.__file__ = str(file)
    # Where dataclasses and others look for the module of a class.
    sys.modules[MODULE] = module
    loader.exec_module(module)
    return module


class HookRunner:
    """Runs the hooks, each call within ``deadline`` seconds."""

    def __init__(self, hooks: Hooks, deadline: float) -> None:
        self._hooks = hooks
        self._deadline = deadline

    @property
    def points(self) -> frozenset[Point]:
        """The points that the hooks have a method of their own for."""
        own = type(self._hooks)
        return frozenset(
            point
            for point, name in _METHODS.items()
            if getattr(own, name) is not getattr(Hooks, name)
        )

    async def run(self, event: RunHook) -> Decision | Failure:
        """What the hook decides; a Failure, and a line in the log, where it raises or is slow."""
        limit = asyncio.timeout(self._deadline)
        try:
            async with limit:
                decision = await self._call(event.subject)
        except Exception as error:  # noqa: BLE001 - it is another's code
            if limit.expired():
                return Failure(f"it took longer than {self._deadline:g} s")
            # Its author needs to see where; what follows for the request is the machine's affair.
            _log.exception("the hook for a %s failed", event.point.value)
            return Failure(f"{type(error).__name__}: {error}")
        if decision is None:
            return Proceed()
        if not isinstance(decision, Decision):
            return Failure(f"it gave {type(decision).__name__} in place of a decision")
        return decision

    async def _call(self, subject: Subject) -> object:
        match subject:
            case AskedRequest():
                return await self._hooks.on_request(subject)
            case ReturningResponse():
                return await self._hooks.on_response(subject)
            case AskedRegistration():
                return await self._hooks.on_register(subject)
            case FailedBranch():
                return await self._hooks.on_branch_failure(subject)
            case _:
                assert_never(subject)


def hook_runner(source: Path | str | None, deadline: float) -> HookRunner | None:
    """What runs the hooks of a file or module, None without one; ConfigError."""
    return None if source is None else HookRunner(load_hooks(source), deadline)
