"""Events of jobs: the broadcasters that publish them, and the ways to read them."""
