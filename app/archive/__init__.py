"""An archive of this installation: database, interval file and secrets in one file."""
