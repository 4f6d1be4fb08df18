"""Tests of the stores of users and secrets."""
