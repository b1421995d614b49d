"""Where hosted classes live: this process or a Ray cluster."""
