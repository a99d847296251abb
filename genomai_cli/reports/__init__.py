"""Pictures and pages for people to look at: opened only when there is one to draw, since matplotlib is slow to load."""
