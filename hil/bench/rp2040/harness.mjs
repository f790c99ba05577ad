/**
 * Run a Raspberry Pi Pico's image in the emulator, in lockstep with Python: `frames.mjs` says how.
 *
 * Emulated time passes only inside RUN. A run is a function of the image, the flash file, the seed
 * and the frames: nothing here reads a clock or the machine's own randomness.
 */

import { openSync, readFileSync } from 'node:fs';

import { Chip, loadEmulator } from './chip.mjs';
import { Engine } from './engine.mjs';
import { Flash, hookBootrom } from './flash.mjs';
import { decodeRun, encodeState, KIND, REASON, receive, send, STOP } from './frames.mjs';
import { generator } from './peripherals.mjs';

console.log = console.error; // standard output belongs to the frames

const QUANTUM_US = 1000;
const EMPTY = new Uint8Array(0);

class Bench {
  constructor() {
    this.lib = null;
    this.parts = null;
    this.chip = null;
    this.bootNanos = 0; // when the present chip came out of reset
    this.stoppedNanos = 0; // the time while power is off
    this.resets = 0;
    this.busyCycles = 0;
    this.stalledNanos = 0;
    this.seenHigh = 0;
    this.seenLow = 0;
    this.lines = [[], [], []]; // what was sent and not yet reported
    this.inputs = { driven: 0, levels: 0, adc: [0, 0, 0, 0, 0], plugged: true };
    this.quantumNanos = QUANTUM_US * 1000;
    this.rxSpeed = 1;
    this.scratch = new Uint32Array(8);
  }

  get nanos() {
    return this.chip === null ? this.stoppedNanos : this.bootNanos + this.chip.nanos;
  }

  async powerOn(options) {
    if (this.chip !== null) this.powerOff();
    this.lib ??= await loadEmulator(options.emulator);
    if (this.parts === null) {
      const rom = readFileSync(options.bootrom);
      const bootrom = new Uint32Array(rom.buffer, rom.byteOffset, rom.length / 4).slice();
      hookBootrom(bootrom);
      const random = generator(options.seed);
      const noise = { random, stuck: false };
      const flash = new Flash(openSync(options.flash, 'r+'), options, generator(options.seed + 1));
      const engine = new Engine();
      flash.onWrite = (offset) => engine.flashWritten(offset);
      this.parts = { bootrom, flash, noise, engine };
    }
    this.parts.uniqueId = Buffer.from(options.uniqueId, 'hex');
    this.inputs.plugged = options.plugged ?? true;
    this.quantumNanos = (options.quantumUs ?? QUANTUM_US) * 1000;
    this.rxSpeed = options.rxSpeed ?? 1;
    const reason = options.resetReason ?? 0;
    const { engine, flash } = this.parts;
    flash.load(engine.flash); // Python may have changed the file while power was off
    engine.checkImage();
    engine.sram.fill(0);
    // the watchdog's scratch registers survive every reset but a power cut
    this.start({ reason, scratch: reason ? this.scratch : new Uint32Array(8) });
  }

  start(watchdog) {
    this.bootNanos = this.stoppedNanos;
    this.chip = new Chip(this.lib, { ...this.parts, plugged: this.inputs.plugged }, watchdog);
    for (const uart of this.chip.mcu.uart) uart.rxSpeed = this.rxSpeed;
    this.applyInputs();
  }

  /** Take out what the chip has counted and sent; it will not run again. */
  stop() {
    this.collect();
    this.stoppedNanos = this.nanos;
    this.scratch = this.chip.watchdog.scratchData;
    this.busyCycles += this.chip.busyCycles;
    this.stalledNanos += this.chip.stalledNanos;
    this.chip = null;
  }

  powerOff() {
    if (this.chip === null) return;
    this.parts.flash.tear();
    this.stop();
  }

  reset() {
    const reason = this.chip.resetReason;
    this.stop();
    this.resets++;
    this.start({ reason, scratch: this.scratch });
  }

  applyInputs() {
    const { chip, inputs } = this;
    chip.pads.drive(inputs.driven, inputs.levels);
    chip.mcu.adc.channelValues = inputs.adc;
    chip.cable.setPlugged(inputs.plugged);
  }

  collect() {
    const { chip, lines } = this;
    chip.mcu.uart.forEach((uart, i) => { lines[i].push(...uart.sent.splice(0)); });
    for (const data of chip.cable.fromDevice.splice(0)) lines[2].push(...data);
    this.seenHigh |= chip.pads.seenHigh;
    this.seenLow |= chip.pads.seenLow;
    chip.pads.seenHigh = chip.pads.lastOutput;
    chip.pads.seenLow = chip.pads.lastEnable & ~chip.pads.lastOutput;
  }

  run(frame) {
    this.inputs = frame;
    const target = frame.untilUs * 1000;
    if (this.chip === null) {
      this.stoppedNanos = Math.max(this.stoppedNanos, target);
      return REASON.TARGET;
    }
    this.applyInputs();
    this.chip.mcu.uart.forEach((uart, i) => uart.feed(frame.lines[i]));
    this.chip.cable.feed(frame.lines[2]);
    while (this.nanos < target) {
      const quantum = (Math.floor(this.nanos / this.quantumNanos) + 1) * this.quantumNanos;
      // an idle chip with nothing on its lines may skip whole quanta
      const next = this.chip.core.waiting
        ? this.bootNanos + (this.chip.nextAlarmNanos ?? Infinity) : 0;
      const until = Math.min(target, Math.max(quantum, next));
      if (this.chip.runTo(until - this.bootNanos)) {
        this.powerOff();
        return REASON.POWER_LOST;
      }
      if (this.chip.resetReason) {
        this.reset();
        if (frame.stop & STOP.RESET) return REASON.RESET;
        continue;
      }
      this.collect();
      if (frame.stop & STOP.BYTES && this.lines.some((line) => line.length)) return REASON.BYTES;
      const { pads } = this.chip;
      const changed = pads.changed;
      pads.changed = false;
      if (frame.stop & STOP.OUTPUTS && changed) return REASON.OUTPUTS;
      if (frame.stop & STOP.IDLE && this.chip.core.waiting) return REASON.IDLE;
    }
    return REASON.TARGET;
  }

  state(reason) {
    const { chip } = this;
    const next = chip === null ? null : chip.nextAlarmNanos;
    const lines = this.lines.map((line) => (line.length ? Uint8Array.from(line) : EMPTY));
    const state = {
      reason, lines,
      timeUs: this.nanos / 1000,
      nextUs: next === null ? -1 : (this.bootNanos + next) / 1000,
      busyCycles: this.busyCycles + (chip?.busyCycles ?? 0),
      stalledUs: (this.stalledNanos + (chip?.stalledNanos ?? 0)) / 1000,
      enable: chip?.pads.lastEnable ?? 0,
      output: chip?.pads.lastOutput ?? 0,
      seenHigh: this.seenHigh,
      seenLow: this.seenLow,
      flashOps: this.parts?.flash.operationCount ?? 0,
      resets: this.resets,
      watchdogUs: chip?.watchdog.timer.enable ? chip.watchdog.timer.counter / 2 : 0,
      usbWaiting: chip?.cable.waiting ?? 0,
      clockHz: chip?.mcu.clkSys ?? 0,
      watchdogReason: chip?.watchdog.reason ?? 0,
      powered: chip !== null,
    };
    this.lines = [[], [], []];
    this.seenHigh = 0;
    this.seenLow = 0;
    return encodeState(state, chip);
  }

  set(options) {
    if ('cutAt' in options) this.parts.flash.cutAt = options.cutAt;
    if ('stuck' in options) this.parts.noise.stuck = options.stuck;
  }
}

async function serve() {
  const bench = new Bench();
  for (;;) {
    const frame = receive(0);
    if (frame === null) return;
    let reason = REASON.TARGET;
    try {
      switch (frame.kind) {
        case KIND.POWER_ON: await bench.powerOn(JSON.parse(frame.payload.toString())); break;
        case KIND.RUN: reason = bench.run(decodeRun(frame.payload)); break;
        case KIND.POWER_OFF: bench.powerOff(); break;
        case KIND.SET: bench.set(JSON.parse(frame.payload.toString())); break;
        default: throw new Error(`a frame of kind ${frame.kind}`);
      }
      send(1, KIND.STATE, bench.state(reason));
    } catch (error) {
      send(1, KIND.ERROR, Buffer.from(String(error.stack)));
    }
  }
}

await serve();
