/**
 * The QSPI flash chip: what it holds, how long it takes, and what a power cut leaves of it.
 *
 * The boot ROM's flash functions are entered through a breakpoint put over their first
 * instruction; the CPU stands still while the chip works, as it does on the board (interrupts are
 * off and code is in the same flash). One operation is one sector, one block or one page.
 * Everything is written to the file behind the chip as it happens, so killing the process is a
 * power cut too.
 *
 * Ref: RP2040 data sheet, 2.8.3.1.3; Winbond W25Q16JV data sheet, 9.6 (typical times).
 */

import { readSync, writeSync } from 'node:fs';

export const FLASH_SIZE = 2 * 1024 * 1024;
const PAGE_SIZE = 256;
const SECTOR_SIZE = 4096;
const BLOCK_SIZE = 65536;
const ROM_TABLE_POINTER = 0x14;
const BKPT = 0xbe00;
const BX_LR = 0x4770;
// breakpoint numbers, above those the SDK uses
export const BREAK_ERASE = 0xf1;
export const BREAK_PROGRAM = 0xf2;
export const BREAK_EXIT_XIP = 0xf3;
export const BREAK_NOTHING = 0xf4;
const HOOKS = { RE: BREAK_ERASE, RP: BREAK_PROGRAM, EX: BREAK_EXIT_XIP, IF: BREAK_NOTHING,
  FC: BREAK_NOTHING, CX: BREAK_NOTHING };

/** Put the breakpoints over the flash functions of a boot ROM (32-bit words). */
export function hookBootrom(words) {
  const half = new Uint16Array(words.buffer, words.byteOffset, words.length * 2);
  let found = 0;
  for (let at = half[ROM_TABLE_POINTER >> 1] >> 1; half[at]; at += 2) {
    const name = String.fromCharCode(half[at] & 0xff, half[at] >> 8);
    if (name in HOOKS) {
      const entry = (half[at + 1] & ~1) >> 1;
      half[entry] = BKPT | HOOKS[name];
      half[entry + 1] = BX_LR;
      found++;
    }
  }
  if (found !== Object.keys(HOOKS).length) throw new Error('boot ROM without flash functions');
}

export class Flash {
  /**
   * @param fd descriptor of the file behind the chip, FLASH_SIZE bytes
   * @param timing {sectorEraseUs, blockEraseUs, pageProgramUs}
   * @param random () => 32 random bits, for what a power cut leaves
   */
  constructor(fd, timing, random) {
    this.fd = fd;
    this.timing = timing;
    this.random = random;
    this.bytes = null;
    this.queue = [];
    this.endNanos = 0; // when the operation at the head of the queue is done
    this.operationCount = 0;
    this.onWrite = () => {}; // called with an offset after its bytes have changed
    this.cutAt = null; // {n: operations from now, 1 the next one; phase: before, middle or after}
  }

  /** Fill the chip, FLASH_SIZE bytes and more, from the file. */
  load(bytes) {
    this.bytes = bytes;
    this.drop();
    bytes.fill(0xff, FLASH_SIZE);
    for (let at = 0; at < FLASH_SIZE;) {
      const got = readSync(this.fd, bytes, at, FLASH_SIZE - at, at);
      if (got <= 0) throw new Error('the flash file is too short');
      at += got;
    }
  }

  get busy() {
    return this.queue.length > 0;
  }

  erase(offset, count, nowNanos) {
    for (let at = offset; at < offset + count;) {
      const block = at % BLOCK_SIZE === 0 && offset + count - at >= BLOCK_SIZE;
      const size = block ? BLOCK_SIZE : SECTOR_SIZE;
      const us = block ? this.timing.blockEraseUs : this.timing.sectorEraseUs;
      this.queue.push({ erase: true, at, size, nanos: us * 1000 });
      at += size;
    }
    this.begin(nowNanos);
  }

  /** data is copied: RAM may change while the chip works. */
  program(offset, data, nowNanos) {
    for (let at = 0; at < data.length; at += PAGE_SIZE) {
      this.queue.push({ erase: false, at: offset + at, size: PAGE_SIZE,
        data: data.slice(at, at + PAGE_SIZE), nanos: this.timing.pageProgramUs * 1000 });
    }
    this.begin(nowNanos);
  }

  begin(nowNanos) {
    if (this.queue.length) this.endNanos = nowNanos + this.queue[0].nanos;
  }

  /** True when power must be cut before the operation at the head of the queue begins. */
  get cutsBefore() {
    return this.cutAt !== null && this.cutAt.n <= 1 && this.cutAt.phase === 'before';
  }

  /** The instant at which the head's operation ends, or at which power is cut in its middle. */
  get nextNanos() {
    const half = this.cutAt !== null && this.cutAt.n <= 1 && this.cutAt.phase === 'middle';
    return half ? this.endNanos - this.queue[0].nanos / 2 : this.endNanos;
  }

  /** Complete the head's operation at nextNanos. Returns true when power is cut there. */
  complete() {
    const cut = this.cutAt;
    if (cut !== null && cut.n <= 1) {
      if (cut.phase === 'middle') {
        this.tear();
      } else {
        this.apply(this.queue.shift(), 1);
        this.drop();
      }
      return true;
    }
    if (cut !== null) cut.n--;
    this.apply(this.queue.shift(), 1);
    this.begin(this.endNanos);
    return false;
  }

  /** Power is gone: leave a half-done operation in the chip. */
  tear() {
    if (this.queue.length) this.apply(this.queue[0], 0.5);
    this.drop();
  }

  /** Forget what has not begun. */
  drop() {
    this.queue = [];
    this.cutAt = null;
  }

  apply(operation, share) {
    const { at, size } = operation;
    const bytes = this.bytes.subarray(at, at + size);
    const whole = share === 1;
    for (let i = 0; i < bytes.length; i++) {
      if (operation.erase) {
        // cells drift to one at different speeds
        bytes[i] = whole ? 0xff : bytes[i] | (this.random() & this.random() & 0xff);
      } else {
        const mask = whole || i < size / 2 ? 0 : i > size / 2 ? 0xff : this.random() & 0xff;
        bytes[i] &= operation.data[i] | mask;
      }
    }
    this.operationCount++;
    this.onWrite(at);
    writeSync(this.fd, bytes, 0, bytes.length, at);
  }
}
