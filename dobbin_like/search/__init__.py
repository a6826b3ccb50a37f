"""Looking through all objects of a database, without loading their classes.

``snapshot_scan`` (one snapshot, held while it is read); ``census``, ``instances``,
``referrers`` and ``walk``, a question each.
"""

from dobbin_like.search.census import Census, ClassCount
from dobbin_like.search.referrers import Referrer

__all__ = ["Census", "ClassCount", "Referrer"]
