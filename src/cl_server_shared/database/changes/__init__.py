"""Who waits for changes of a database is woken, instead of everybody polling it.

`hub` is what others use; `sources` tells that something changed, `watcher` finds out for whom, and
`notifier` tells the other processes of a PostgreSQL.
"""
