"""Finding the servers of SIP domains: ``python -m benchmarks.locate``."""
