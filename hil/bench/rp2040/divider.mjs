/**
 * The hardware divider of SIO: every division in C goes through it, so it has a short way.
 *
 * The result is there at once, where the chip takes eight cycles; the SDK waits for them anyway.
 * Ref: RP2040 data sheet, 2.3.1.5.
 */

export const DIVIDER = 0xd0000060;
export const DIVIDER_SIZE = 0x1c;
const [UDIVISOR, SDIVIDEND, SDIVISOR, QUOTIENT, REMAINDER] = [1, 2, 3, 4, 5];
const CSR_READY = 1;
const CSR_DIRTY = 2;

export class Divider {
  constructor() {
    this.values = new Int32Array(4); // dividend, divisor, quotient, remainder
    this.dirty = false;
  }

  read(register) {
    const { values } = this;
    if (register === QUOTIENT) {
      this.dirty = false;
      return values[2];
    }
    if (register === REMAINDER) return values[3];
    if (register > REMAINDER) return this.dirty ? CSR_READY | CSR_DIRTY : CSR_READY;
    return values[register & 1];
  }

  write(register, value) {
    const { values } = this;
    this.dirty = true;
    if (register === QUOTIENT || register === REMAINDER) {
      values[register - 2] = value;
      return;
    }
    values[register & 1] = value;
    const [a, b] = values;
    if (register <= UDIVISOR) {
      values[2] = b === 0 ? -1 : (a >>> 0) / (b >>> 0);
      values[3] = b === 0 ? a : (a >>> 0) % (b >>> 0);
    } else if (register === SDIVIDEND || register === SDIVISOR) {
      values[2] = b === 0 ? (a < 0 ? 1 : -1) : a / b;
      values[3] = b === 0 ? a : a % b;
    }
  }
}
