"""The power stage that a board names. A small board forgets this when it has its stage."""


def make_stage(board, hal):
    """Return the power stage that the board has; no other stage's module takes memory."""
    kind = board.STAGE
    if kind == "converter":
        from .converter import Converter

        return Converter(board.DUTY_FULL_MA, board.LOSS_STANDING_MW, board.LOSS_BP,
                         board.PRECHARGE_MS_MAX if board.DC_LINK else 0)
    if kind == "sunspec":
        from .sunspec import SunSpec

        return SunSpec(board.LOSS_STANDING_MW, board.LOSS_BP, board.STAGE_ADDRESS,
                       board.STAGE_BAUD, board.START_MS)
    remainder_mw = int.from_bytes(hal.entropy(4), "big") % board.STEP_MW - board.STEP_MW // 2
    if kind == "relay":
        from .relay import Relay

        return Relay(board.STEP_MW, board.DIRECTIONS, board.ON_MS_MIN, board.OFF_MS_MIN,
                     board.LOSS_BP, board.SWITCHES_PER_HOUR_MAX, board.START_MS, remainder_mw)
    from .bms_fets import BMSFets

    return BMSFets(board.STEP_MW, board.ON_MS_MIN, board.OFF_MS_MIN, board.LOSS_BP, remainder_mw)
