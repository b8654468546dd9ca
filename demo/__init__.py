"""The demo world: the Complete Journey retail data as tags, events and profiles of `user`s.

`catalog.py` says which tags there are, `completejourney.py` turns the raw data into import files,
`queries.graphql` holds the ready-made queries of the console. Nothing here writes to a store.
"""
