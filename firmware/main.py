"""What a board runs after boot.py: the agent with this board's pins and ratings."""

import board
from element import agent

agent.main(board)
