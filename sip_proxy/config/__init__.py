"""The configuration: every option with its bounds; how it is written: natkit.server.config."""

from natkit.server.config import Flag, contents, data_dir_of
from sip_proxy.config.model import Config
from sip_proxy.config.reading import load, validated

__all__ = ["Config", "Flag", "contents", "data_dir_of", "load", "validated"]
