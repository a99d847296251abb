"""The command line: the only rooms that know arguments, standard output and exit statuses."""
