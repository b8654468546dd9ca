"""The engine on SQLite: a directory, nothing to install. `engine.py` is its door."""
