"""What is known of people beside their DNA: records of labels, numbers and places."""
