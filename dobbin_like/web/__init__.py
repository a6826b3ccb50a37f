"""Web applications: a request is a transaction, and streams are served.

:mod:`~dobbin_like.web.wsgi` and :mod:`~dobbin_like.web.asgi` have the middleware, for any
framework; ``flask``, ``starlette`` (and FastAPI), ``django`` and ``pyramid`` what each of these
wants besides. A module needs its framework; no other one does.
"""
