"""How well the models do, beside what anyone would try first: a folder a subject, with the results in it."""
