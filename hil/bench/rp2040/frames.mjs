/**
 * The frames between Python and the harness, little-endian, on standard input and output.
 *
 * Either way: u32 size of what follows, u8 kind, payload.
 *
 * To the harness:
 *   POWER_ON  JSON: {emulator, bootrom, flash: paths; uniqueId: hex; seed; resetReason: 0, 1 timer
 *             or 2 forced; plugged; sectorEraseUs, blockEraseUs, pageProgramUs; quantumUs;
 *             rxSpeed}
 *   RUN       f64 until_us, u8 stop mask, u8 plugged, u16 0, u32 mask of pins driven from outside,
 *             u32 their levels, 5 x u16 ADC raw (0..4095; channel 4 is the temperature sensor),
 *             u16 0, 3 x u32 sizes, bytes for UART0, UART1, USB
 *   POWER_OFF nothing; a flash operation under way is torn
 *   SET       JSON: {cutAt: {n, phase} or null; stuck: bool}
 * From the harness, after each of them, a STATE: see `encodeState`; or an ERROR with a text.
 * Times are microseconds since the first POWER_ON of the process; with power off they move on RUN.
 */

import { readSync, writeSync } from 'node:fs';

export const KIND = { POWER_ON: 1, RUN: 2, POWER_OFF: 3, SET: 4, STATE: 16, ERROR: 17 };
export const STOP = { OUTPUTS: 1, BYTES: 2, RESET: 4, IDLE: 8 };
export const REASON = { TARGET: 0, OUTPUTS: 1, BYTES: 2, RESET: 3, POWER_LOST: 4, IDLE: 5 };
const FLAG = { POWERED: 1, IDLE: 2, WATCHDOG: 4, CONFIGURED: 8, FLASH_BUSY: 16, LOCKED: 32 };
const HEADER_SIZE = 5;
const FRAME_SIZE_MAX = 1 << 24;
const RUN_SIZE = 44;
const STATE_SIZE = 180;
const PINS = 30;
const SLICES = 8;

function readExactly(fd, size) {
  const data = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    const got = readSync(fd, data, at, size - at, null);
    if (got === 0) return null;
    at += got;
  }
  return data;
}

/** Wait for one frame; null when Python is gone. */
export function receive(fd) {
  const header = readExactly(fd, HEADER_SIZE);
  if (header === null) return null;
  const size = header.readUInt32LE(0) - 1;
  if (size < 0 || size > FRAME_SIZE_MAX) throw new Error(`a frame of ${size} bytes`);
  return { kind: header[4], payload: readExactly(fd, size) };
}

export function send(fd, kind, payload) {
  const frame = Buffer.alloc(HEADER_SIZE + payload.length);
  frame.writeUInt32LE(payload.length + 1, 0);
  frame[4] = kind;
  frame.set(payload, HEADER_SIZE);
  for (let at = 0; at < frame.length;) at += writeSync(fd, frame, at);
}

export function decodeRun(payload) {
  const sizes = [32, 36, 40].map((at) => payload.readUInt32LE(at));
  const lines = [];
  let at = RUN_SIZE;
  for (const size of sizes) {
    lines.push(Uint8Array.from(payload.subarray(at, at + size)));
    at += size;
  }
  return {
    untilUs: payload.readDoubleLE(0),
    stop: payload[8],
    plugged: payload[9] !== 0,
    driven: payload.readUInt32LE(12),
    levels: payload.readUInt32LE(16),
    adc: [0, 1, 2, 3, 4].map((i) => payload.readUInt16LE(20 + 2 * i)),
    lines,
  };
}

/**
 * STATE: f64 time_us, f64 next_us (when anything is due by itself; -1: nothing), f64 busy cycles,
 * f64 us stalled by flash, u32 pins driven, u32 their levels, u32 driven high and u32 driven low
 * at any moment since the last STATE, u32 flash operations, u32 resets, u32 watchdog us left,
 * u32 bytes that wait for the USB device, u32 clk_sys in Hz, u8 reason, u8 flags, u8 watchdog
 * reason, u8 0, 30 x u8 function of each pin, u16 0, 8 x (u16 top, u16 A, u16 B, u8 enabled,
 * u8 0) PWM, 3 x u32 sizes, bytes from UART0, UART1, USB.
 */
export function encodeState(state, chip) {
  const [uart0, uart1, usb] = state.lines;
  const out = Buffer.alloc(STATE_SIZE + uart0.length + uart1.length + usb.length);
  out.writeDoubleLE(state.timeUs, 0);
  out.writeDoubleLE(state.nextUs, 8);
  out.writeDoubleLE(state.busyCycles, 16);
  out.writeDoubleLE(state.stalledUs, 24);
  const words = [state.enable, state.output, state.seenHigh, state.seenLow, state.flashOps,
    state.resets, state.watchdogUs, state.usbWaiting, state.clockHz];
  words.forEach((word, i) => out.writeUInt32LE(word >>> 0, 32 + 4 * i));
  let flags = state.powered ? FLAG.POWERED : 0;
  out[68] = state.reason;
  out[70] = state.watchdogReason;
  if (chip !== null) {
    flags |= (chip.core.waiting ? FLAG.IDLE : 0) | (chip.watchdog.timer.enable ? FLAG.WATCHDOG : 0)
      | (chip.cable.configured ? FLAG.CONFIGURED : 0) | (chip.flash.busy ? FLAG.FLASH_BUSY : 0)
      | (chip.locked ? FLAG.LOCKED : 0);
    for (let i = 0; i < PINS; i++) out[72 + i] = chip.mcu.gpio[i].functionSelect;
    for (let i = 0; i < SLICES; i++) {
      const slice = chip.mcu.pwm.channels[i];
      const at = 104 + 8 * i;
      out.writeUInt16LE(slice.top, at);
      out.writeUInt16LE(slice.cc & 0xffff, at + 2);
      out.writeUInt16LE(slice.cc >>> 16, at + 4);
      out[at + 6] = slice.csr & 1;
    }
  }
  out[69] = flags;
  let at = STATE_SIZE;
  state.lines.forEach((line, i) => {
    out.writeUInt32LE(line.length, 168 + 4 * i);
    out.set(line, at);
    at += line.length;
  });
  return out;
}
