"""``natkit ice``: which candidates a host has, and whether two hosts find a path to each other."""

from natkit.cli import ice_connect, ice_gather
from natkit.cli.entry import application

__all__ = ["app"]

app = application(
    "Gather ICE candidates, and find a path to another host.",
    example=ice_gather.EXAMPLE,
)
app.command(name="gather", epilog=f"Example: {ice_gather.EXAMPLE}")(ice_gather.gather)
app.command(name="connect", epilog=f"Example: {ice_connect.EXAMPLE}")(ice_connect.connect)
