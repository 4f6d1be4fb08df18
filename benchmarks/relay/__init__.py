"""The relay of stun-server against coturn's: ``python -m benchmarks.relay``."""
