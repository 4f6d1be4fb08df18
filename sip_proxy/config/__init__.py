"""The configuration: every option with its bounds; how it is written: natkit.server.config."""

from natkit.server.config import Flag, contents
from sip_proxy.config.model import Config
from sip_proxy.config.reading import load, validated

__all__ = ["Config", "Flag", "contents", "load", "validated"]
