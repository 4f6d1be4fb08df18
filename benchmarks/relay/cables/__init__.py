"""The relay planes and coturn between hosts on virtual cables."""
