"""What a record is to a network: one protocol, `base.InputKind`; sequences and their windows."""
