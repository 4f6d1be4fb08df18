"""The configuration: a TOML file, what flags put over it, and every option with its bounds.

Unknown keys are refused.  Times are in seconds.  A flag beats the file: it replaces the file's
value, but for users, of whom a flag adds one or replaces the one of that name.  A secret is a
string, ``{env = "NAME"}`` or ``{file = "PATH"}``.
"""

from stun_server.config.listeners import RelayPlaneName
from stun_server.config.model import Config
from stun_server.config.operating import LogLevel
from stun_server.config.reading import Flag, contents, data_dir_of, load, validated
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
    "data_dir_of",
    "load",
    "validated",
]
