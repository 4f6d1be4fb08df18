"""What machine and pages agree on about the connectivity test.

Anybody may be let take it, so its credentials are worth little to anybody who wants a free relay:
they end with their short life, whatever ``strict_expiry`` says of others, and all tests together
have a few allocations at once.
"""

__all__ = ["ALLOCATIONS", "LIFETIME", "NAME"]

NAME = "connectivity-test"
"""Whose the credentials are, in logs and for quotas."""

LIFETIME = 120
"""Seconds: a test takes some twenty on a slow network."""

ALLOCATIONS = 64
"""At once; a test has ten at most."""
