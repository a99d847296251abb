"""Using a model: records to pieces, pieces to scores, scores to answers."""
