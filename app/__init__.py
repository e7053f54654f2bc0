"""Veilleur watches backups and tells people when one did not happen."""
