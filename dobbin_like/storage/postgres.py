"""The log in PostgreSQL. Needs psycopg: ``pip install 'dobbin_like[postgres]'``."""

try:
    from dobbin_like.storages.postgres.log import PostgresLog
except ModuleNotFoundError as _error:
    if _error.name != "psycopg":
        raise
    text = "a log in PostgreSQL needs psycopg; pip install 'dobbin_like[postgres]'"
    raise ModuleNotFoundError(text, name=_error.name) from None

__all__ = ["PostgresLog"]
