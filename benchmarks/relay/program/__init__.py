"""The kernel's program by itself: what it takes for a packet of each kind."""
