"""How long the commands take, and what pretraining costs beside a plain loop."""
