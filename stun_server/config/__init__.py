"""The configuration: every option with its bounds; how it is written: natkit.server.config."""

from natkit.server.config import Flag, LogLevel, contents
from stun_server.config.listeners import RelayPlaneName
from stun_server.config.model import Config
from stun_server.config.reading import load, validated
from stun_server.config.realms import Realm, Redirect
from stun_server.config.users import UserOptions, Users
from stun_server.config.values import ReadyKeys

__all__ = [
    "Config",
    "Flag",
    "LogLevel",
    "ReadyKeys",
    "Realm",
    "Redirect",
    "RelayPlaneName",
    "UserOptions",
    "Users",
    "contents",
    "load",
    "validated",
]
