"""Looking through all objects of a database, without loading their classes."""

from dobbin_like.search.questions import Census, ClassCount, Referrer

__all__ = ["Census", "ClassCount", "Referrer"]
