"""What the service promises, shown from outside: real servers, HTTP, and answers worked out by other means.

Run by hand (`python -m tests.acceptance.<name>`); `docs/acceptance.md` says which one shows what.
"""
