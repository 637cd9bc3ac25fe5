"""What several tests start, wait for and compare."""
