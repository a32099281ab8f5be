"""`make chaos`: breaks everything around superd, under a real systemd, and proves that nothing is lost."""
