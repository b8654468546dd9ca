"""Every decision: rules, scopes, orchestration. No GraphQL, no SQL, no bitmaps.

A resolver takes the `Context` of the request and plain values, and gives plain values (`answers.py`).
"""
