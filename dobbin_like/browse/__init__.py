"""The pages of ``dobbin browse``: a database in a browser of this machine, for looking only.

Read :mod:`.command` (the subcommand), :mod:`.server` (the socket and its address), :mod:`.guard`
(who may ask), :mod:`.app` (which page answers what), :mod:`.shown` (the database that is shown, as
of a moment) and then the pages. They are HTML that needs no script; what scripts add (a drawing,
a slider that shows at once, news as they come) is in ``static``.
"""
