"""Tests of sipdns.diagnosis."""
