"""How both servers are configured: a TOML file, what flags put over it, and options with bounds.

Unknown keys are refused.  Times are in seconds, sizes in bytes.  A flag beats the file: it replaces
the file's value, but for users, of whom a flag adds one or replaces the one of that name.  A secret
is a string, ``{env = "NAME"}`` or ``{file = "PATH"}``.  Each server has its own tables, and models
of them beside its code.
"""

from natkit.server.config.operating import Admin, Log, LogLevel
from natkit.server.config.reading import Flag, contents, data_dir_of, validated
from natkit.server.config.tables import Table

__all__ = [
    "Admin",
    "Flag",
    "Log",
    "LogLevel",
    "Table",
    "contents",
    "data_dir_of",
    "validated",
]
