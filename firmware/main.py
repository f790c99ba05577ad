"""What a board runs after boot.py: the firmware of the active slot, with this board's pins."""

import slots

slots.start()
