"""Tests against foreign software."""
