"""Networks that read genotypes at the sites of a panel."""
