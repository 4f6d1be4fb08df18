"""Tests of the repository itself: names, locks, documents, commands, set-up."""
