"""The contract: what element and host say to each other, the same code on both sides."""
