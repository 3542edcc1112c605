"""A payments service with one batch endpoint that is all or nothing."""
