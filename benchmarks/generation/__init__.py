"""New people: how like real ones they are, and the bound of the models that make them."""
