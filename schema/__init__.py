"""Every GraphQL word: types, inputs, scalars, limits. No decisions: a method calls one resolver.

Types are shapes; what flows through them are the plain values that resolvers give. `served.py` puts
them together.
"""
