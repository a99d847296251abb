"""Network families: token ids and a mask in, hidden states out; one file a family."""
