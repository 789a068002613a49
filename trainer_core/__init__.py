"""The worker: turns one assignment into one outcome. Never imports a web framework or the service."""
