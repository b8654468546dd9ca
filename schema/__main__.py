"""Writes the text of the served schema to `schema.graphql`."""

from pathlib import Path

from schema.served import sdl

if __name__ == "__main__":
    (Path(__file__).parent / "schema.graphql").write_text(sdl(), "utf-8")
