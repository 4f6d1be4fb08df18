"""Tests of the STUN and TURN server."""
