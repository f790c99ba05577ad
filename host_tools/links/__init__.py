"""Lines to elements: serial, TCP, and the sans-I/O port that speaks the contract on them."""
