"""How soon two ICE agents meet: natkit beside aioice and libnice."""
