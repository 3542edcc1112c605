"""A notification platform that answers out of request order and echoes no key."""
