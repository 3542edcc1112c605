"""Services that are all or nothing, and the rules files that make them idempotent per item.

``legacy``: a payments service with a unique key in SQLite; ``idemproxy demo`` uses it.
``notifications``: a platform that answers out of order and without keys.
``datasette``: rules for Datasette's JSON write API, a real service that nobody here wrote.
"""
