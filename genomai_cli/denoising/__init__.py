"""Missing or doubtful tokens restored, record by record, everything else byte for byte."""
