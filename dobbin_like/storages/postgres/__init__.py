"""A log in PostgreSQL, for processes on several machines.

``lines`` connects, and connects again; ``tables`` has the tables and every statement;
``creation`` looks for the tables, and makes them; ``reading`` reads; ``offers`` puts a transaction
at the end, and finds out what has become of one whose answer was lost; ``log`` has all of it.
Needs psycopg, the extra ``postgres``.
"""
