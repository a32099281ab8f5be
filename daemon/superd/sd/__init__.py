"""What systemd and a service tell each other: activation, notification, watchdog."""
