"""Networks: from ids of words to one row of logits a head. They know no labels, files or objectives."""
