"""Jobs: a persistent queue of work, and how workers of many processes share it.

Read ``parts`` (where a job is), then ``claim`` (what a worker holds), then ``queue``.
"""

from typing import TYPE_CHECKING

from dobbin_like.late import late_names

if TYPE_CHECKING:
    from dobbin_like.jobs.claim import Claim
    from dobbin_like.jobs.parts import Job
    from dobbin_like.jobs.queue import JobQueue

__all__ = ["Claim", "Job", "JobQueue"]

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(
        __name__,
        {"Claim": "jobs.claim", "Job": "jobs.parts", "JobQueue": "jobs.queue"},
    )
