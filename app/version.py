"""Which Veilleur this is."""

VERSION = "0.1.0"
