"""What it takes to keep many flows open in one process: memory and processor time."""
