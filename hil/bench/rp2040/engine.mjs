/**
 * Run translated Thumb code in the emulator's chip: several times faster than its interpreter.
 *
 * The engine owns the registers, SRAM and flash arrays, which every chip of this process shares,
 * so that translations outlive resets. The emulator's core keeps what is rare: exceptions, system
 * instructions, sleeping. Its flags are read and written through the engine's.
 */

import { Divider, DIVIDER, DIVIDER_SIZE } from './divider.mjs';
import { translate } from './thumb.mjs';
import { K_C, K_CODE_TOP, K_CYCLES, K_LIMIT, K_NZ, K_SIZE, K_V } from './trace.mjs';

const SRAM_SIZE = 0x42000;
const FLASH_SIZE = 16 * 1024 * 1024;
// code lies below the file system; what is above may change at any time
const CODE_END = 0xa0000;
const ROM_SIZE = 0x4000;
const LINE_SHIFT = 5;
const BURST_MAX = 1_000_000;
const APB_READ_EXTRA = 1;
const APB_WRITE_EXTRA = 2;
const SIO_EXTRA = -1;

export class Engine {
  constructor() {
    this.registers = new Uint32Array(16);
    this.R = new Int32Array(this.registers.buffer);
    this.K = new Int32Array(K_SIZE);
    this.sram = new Uint8Array(SRAM_SIZE);
    this.flash = new Uint8Array(FLASH_SIZE);
    this.rom16 = null;
    this.rom32 = null;
    const views = (bytes) => [bytes, new Uint16Array(bytes.buffer), new Int32Array(bytes.buffer)];
    [this.M8, this.M16, this.M32] = views(this.sram);
    [this.F8, this.F16, this.F32] = views(this.flash);
    this.romTable = new Array(ROM_SIZE / 2).fill(null);
    this.flashTable = new Array(CODE_END / 2).fill(null);
    this.sramTable = new Array(SRAM_SIZE / 2).fill(null);
    this.codeLines = new Uint8Array(SRAM_SIZE >> LINE_SHIFT);
    this.kept = new Map(); // SRAM traces by address: [{pieces, run}]
    this.image = null;
    this.flushCount = 0;
    this.traceCount = 0;
    this.divider = new Divider();
  }

  /** Give a new chip our arrays, and take its core's flags. */
  attach(chip, bootrom) {
    const { mcu } = chip;
    this.chip = chip;
    this.core = mcu.core;
    this.clock = mcu.clock;
    this.mcu = mcu;
    this.rom16 = new Uint16Array(bootrom.buffer, bootrom.byteOffset, bootrom.length * 2);
    this.rom32 = new Int32Array(bootrom.buffer, bootrom.byteOffset, bootrom.length);
    this.registers.set(this.core.registers);
    this.core.registers = this.registers;
    mcu.sram = this.sram;
    mcu.sramView = new DataView(this.sram.buffer);
    mcu.flash = this.flash;
    mcu.flash16 = this.F16;
    mcu.flashView = new DataView(this.flash.buffer);
    this.shareFlags();
    this.flushSRAM();
    this.K.fill(0);
  }

  shareFlags() {
    const { K } = this;
    const flag = (get, set) => ({ get, set, configurable: true });
    Object.defineProperties(this.core, {
      N: flag(() => K[K_NZ] < 0, (value) => {
        if (value) K[K_NZ] = -1;
        else if (K[K_NZ] < 0) K[K_NZ] = 1;
      }),
      Z: flag(() => K[K_NZ] === 0, (value) => {
        if (value) K[K_NZ] = 0;
        else if (K[K_NZ] === 0) K[K_NZ] = 1;
      }),
      C: flag(() => K[K_C] !== 0, (value) => { K[K_C] = value ? 1 : 0; }),
      V: flag(() => K[K_V] !== 0, (value) => { K[K_V] = value ? 1 : 0; }),
    });
  }

  /** Forget translated flash after a write below the file system. */
  flashWritten(offset) {
    if (offset < CODE_END) this.checkImage();
  }

  /** Forget translated flash when its code is not what it was. */
  checkImage() {
    const code = Buffer.from(this.flash.buffer, 0, CODE_END);
    if (this.image !== null && this.image.equals(code)) return;
    this.image = Buffer.from(code);
    this.flashTable.fill(null);
    this.romTable.fill(null);
  }

  flushSRAM() {
    this.sramTable.fill(null);
    this.codeLines.fill(0);
    this.K[K_CODE_TOP] = 0;
    this.flushCount++;
  }

  codeWritten(offset) {
    if (this.codeLines[offset >> LINE_SHIFT]) this.flushSRAM();
  }

  codeWrittenMany(offset, count) {
    this.codeWritten(offset);
    this.codeWritten(offset + 4 * count - 1);
  }

  fetch(address) {
    const region = address >>> 28;
    if (region === 1) return this.F16[(address & 0xffffff) >> 1];
    if (region === 2) return this.M16[(address & 0xfffff) >> 1];
    return this.rom16[(address & 0x3fff) >> 1];
  }

  /** The word at an address where it can never change, else null. */
  literal(address) {
    const region = address >>> 28;
    const offset = address & 0xffffff;
    if (region === 1) return offset < CODE_END ? this.F32[offset >> 2] : null;
    if (region === 0) return this.rom32[(address & 0x3fff) >> 2];
    return null;
  }

  compile(source) {
    this.traceCount++;
    const make = new Function('R', 'K', 'M8', 'M16', 'M32', 'F8', 'F16', 'F32', 'E',
      `"use strict";return(function(){${source}})`);
    return make(this.R, this.K, this.M8, this.M16, this.M32, this.F8, this.F16, this.F32, this);
  }

  /** Return the function of the trace at pc, translating it when it is new. */
  trace(pc) {
    const region = pc >>> 28;
    const offset = pc & 0xfffffff;
    const at = offset >> 1;
    if (region === 1 && offset < CODE_END) return this.flashTable[at] ??= this.make(pc).run;
    if (region === 0 && offset < ROM_SIZE) return this.romTable[at] ??= this.make(pc).run;
    if (region === 2 && offset < SRAM_SIZE) return this.sramTable[at] ??= this.makeSRAM(pc);
    return () => this.fault(pc);
  }

  make(pc) {
    const { source, ranges } = translate(pc, (at) => this.fetch(at), (at) => this.literal(at));
    return { run: this.compile(source), ranges };
  }

  /** As `make`, for code that may change: a trace that was made before from the same is kept. */
  makeSRAM(pc) {
    const known = this.kept.get(pc) ?? [];
    let entry = known.find(({ pieces }) => pieces.every(({ at, bytes }) => bytes.every(
      (byte, i) => this.sram[at + i] === byte)));
    if (entry === undefined) {
      const { run, ranges } = this.make(pc);
      const pieces = ranges.filter(([begin]) => begin >>> 28 === 2).map(([begin, end]) => {
        const at = begin & 0xfffffff;
        return { at, bytes: this.sram.slice(at, end & 0xfffffff) };
      });
      entry = { run, pieces };
      this.kept.set(pc, [...known.slice(-3), entry]);
    }
    for (const { at, bytes } of entry.pieces) {
      const end = at + bytes.length;
      this.codeLines.fill(1, at >> LINE_SHIFT, ((end - 1) >> LINE_SHIFT) + 1);
      if (end > this.K[K_CODE_TOP]) this.K[K_CODE_TOP] = end + (1 << LINE_SHIFT);
    }
    return entry.run;
  }

  /** Run for at least limit cycles, unless something needs attention; returns the cycles. */
  run(limit) {
    const { K, R, clock, flashTable, sramTable } = this;
    this.cycleNanos = 1e9 / this.mcu.clkSys;
    this.baseNanos = clock.nanosCounter;
    this.extraCycles = 0;
    this.alarm = clock.nextAlarm;
    this.alarmNanos = this.alarm === null ? 0 : this.alarm.nanos;
    K[K_CYCLES] = 0;
    K[K_LIMIT] = Math.min(limit, BURST_MAX);
    let pc = R[15] & ~1;
    do {
      const region = pc >>> 28;
      let run = null;
      if (region === 1) run = flashTable[(pc & 0xfffffff) >> 1];
      else if (region === 2) run = sramTable[(pc & 0xfffffff) >> 1];
      if (!run) run = this.trace(pc);
      pc = run();
    } while (K[K_CYCLES] < K[K_LIMIT]);
    R[15] = pc;
    this.sync(K[K_CYCLES]);
    return K[K_CYCLES] + this.extraCycles;
  }

  sync(cycles) {
    this.clock.nanosCounter = this.baseNanos + cycles * this.cycleNanos;
  }

  /** Count what an access costs beyond two cycles, and end the burst when it changed anything. */
  after(extra) {
    const { core, clock, chip, K } = this;
    this.extraCycles += extra;
    this.baseNanos += extra * this.cycleNanos;
    if (core.interruptsUpdated || core.waiting || clock.nextAlarm !== this.alarm
      || (this.alarm !== null && this.alarm.nanos !== this.alarmNanos)
      || chip.flash.busy || chip.resetReason || chip.locked) K[K_LIMIT] = 0;
  }

  read32(address, cycles) {
    const region = address >>> 28;
    if (region === 0) return this.rom32[(address & 0x3fff) >> 2];
    if (region === 13) {
      this.extraCycles += SIO_EXTRA;
      this.baseNanos += SIO_EXTRA * this.cycleNanos;
      const register = address - DIVIDER >>> 0;
      if (register < DIVIDER_SIZE) return this.divider.read(register >> 2);
      return this.mcu.sio.readUint32(address & 0xfffffff) | 0;
    }
    this.sync(cycles);
    const value = this.mcu.readUint32(address >>> 0);
    this.after(region === 4 ? APB_READ_EXTRA : 0);
    return value | 0;
  }

  read16(address, cycles) {
    this.sync(cycles);
    const value = this.mcu.readUint16(address >>> 0);
    this.after(0);
    return value;
  }

  read8(address, cycles) {
    if (address >>> 28 === 0) {
      return this.rom16[(address & 0x3fff) >> 1] >> ((address & 1) << 3) & 255;
    }
    this.sync(cycles);
    const value = this.mcu.readUint8(address >>> 0);
    this.after(0);
    return value;
  }

  write32(address, value, cycles) {
    if (address >>> 28 === 13) {
      this.extraCycles += SIO_EXTRA;
      this.baseNanos += SIO_EXTRA * this.cycleNanos;
      const register = address - DIVIDER >>> 0;
      if (register < DIVIDER_SIZE) {
        this.divider.write(register >> 2, value);
        return;
      }
      this.sync(cycles);
      this.mcu.sio.writeUint32(address & 0xfffffff, value >>> 0);
      return;
    }
    this.sync(cycles);
    this.mcu.writeUint32(address >>> 0, value >>> 0);
    this.after(address >>> 28 === 4 ? APB_WRITE_EXTRA : 0);
  }

  write16(address, value, cycles) {
    this.sync(cycles);
    this.mcu.writeUint16(address >>> 0, value & 0xffff);
    this.after(0);
  }

  write8(address, value, cycles) {
    this.sync(cycles);
    this.mcu.writeUint8(address >>> 0, value & 0xff);
    this.after(0);
  }

  /** Let interrupts in; end the burst when one waits. */
  unmask() {
    const { core } = this;
    core.PM = false;
    if (core.pendingInterrupts & core.enabledInterrupts || core.pendingPendSV
      || core.pendingSVCall || core.pendingSystick || core.pendingNMI) {
      core.interruptsUpdated = true;
      this.K[K_LIMIT] = 0;
    }
  }

  /** Execute one instruction in the emulator's interpreter. */
  interpret(pc) {
    const { core, K, R } = this;
    R[15] = pc;
    this.sync(K[K_CYCLES]);
    K[K_CYCLES] += core.executeInstruction();
    this.after(0);
    return R[15] & ~1;
  }

  exceptionReturn(value) {
    this.core.BXWritePC(value >>> 0);
    this.K[K_LIMIT] = 0;
    return this.R[15] & ~1;
  }

  /** There is no code here: a hard fault, and MicroPython's handler is a breakpoint. */
  fault(pc) {
    this.chip.lockUp(pc);
    this.K[K_LIMIT] = 0;
    return pc;
  }
}
