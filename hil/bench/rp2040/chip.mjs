/**
 * One RP2040 between two resets: the emulator with our parts in it, and the loop that runs it.
 */

import { pathToFileURL } from 'node:url';

import { BREAK_ERASE, BREAK_EXIT_XIP, BREAK_NOTHING, BREAK_PROGRAM } from './flash.mjs';
import {
  chipReset, exactAlarms, FlashCommands, Pads, qspiPins, quietPWM, ringOscillator, serialInterface,
} from './peripherals.mjs';
import { pl011 } from './uart.mjs';
import { Cable } from './usb.mjs';

const BOOT2 = 0x10000000;
const SRAM = 0x20000000;
const SRAM_END = 0x20042000;
const UART_PINS = [[0, 1], [4, 5]];
const WARNINGS_MAX = 100;
const WARNED = new Set();
const RESET_FORCED = 2;

/** Load the emulator from its folder (node_modules/rp2040js). */
export async function loadEmulator(folder) {
  const load = (name) => import(pathToFileURL(`${folder}/dist/esm/${name}.js`).href);
  const [index, uart, ssi, clock] = await Promise.all(
    ['index', 'peripherals/uart', 'peripherals/ssi', 'clock/simulation-clock'].map(load));
  return { ...index, RPUART: uart.RPUART, RPSSI: ssi.RPSSI,
    SimulationClock: clock.SimulationClock };
}

/** Keep the emulator's complaints off the frames, each once; use the one it only reports. */
function logger(chip) {
  const warn = (name, message) => {
    const text = `${name}: ${message}`;
    if (WARNED.size >= WARNINGS_MAX || WARNED.has(text)) return;
    WARNED.add(text);
    console.error(text);
  };
  return {
    debug() {},
    info(name, message) { if (message === 'SEV') chip.core.eventRegistered = true; },
    warn,
    error: warn,
  };
}

export class Chip {
  /**
   * @param lib what `loadEmulator` returned
   * @param parts {bootrom: Uint32Array, flash: Flash, engine: Engine, noise, uniqueId, plugged}
   * @param watchdog {reason, scratch} what survives a reset
   */
  constructor(lib, parts, watchdog) {
    this.clock = new lib.SimulationClock();
    const mcu = new lib.RP2040(this.clock);
    this.mcu = mcu;
    this.core = mcu.core;
    this.flash = parts.flash;
    this.locked = false;
    this.resetReason = 0;
    this.busyCycles = 0;
    this.stalledNanos = 0;
    mcu.logger = logger(this);
    mcu.loadBootrom(parts.bootrom);
    this.engine = parts.engine;
    this.engine.attach(this, parts.bootrom);
    this.fit(lib, parts);
    const dog = mcu.peripherals[0x40058];
    dog.reason = watchdog.reason;
    dog.scratchData.set(watchdog.scratch);
    dog.onWatchdogTrigger = () => {
      this.resetReason = dog.reason || RESET_FORCED;
      dog.alarm.enable = false; // it would fire again at the same instant, forever
    };
    this.watchdog = dog;
    mcu.onBreak = (code) => this.onBreak(code);
    this.core.PC = BOOT2;
  }

  /** Put our parts in the place of the emulator's. */
  fit(lib, parts) {
    const { mcu } = this;
    const PL011 = pl011(lib.RPUART);
    mcu.uart = mcu.uart.map((old, index) => {
      const uart = new PL011(mcu, old.name, old.irq, old.dreq, UART_PINS[index]);
      mcu.peripherals[index ? 0x40038 : 0x40034] = uart;
      return uart;
    });
    const base = lib.BasePeripheral;
    const commands = new FlashCommands(parts.uniqueId);
    this.commands = commands;
    const put = (address, Class, name) => { mcu.peripherals[address] = new Class(mcu, name); };
    put(0x40060, ringOscillator(base, parts.noise), 'ROSC');
    put(0x40064, chipReset(base), 'CHIP_RESET');
    put(0x40018, qspiPins(base, commands), 'IO_QSPI');
    put(0x18000, serialInterface(lib.RPSSI, commands), 'SSI');
    exactAlarms(mcu.peripherals[0x40054]);
    quietPWM(mcu.pwm);
    this.pads = new Pads(mcu);
    this.cable = new Cable(lib, mcu, parts.plugged);
  }

  get nanos() {
    return this.clock.nanosCounter;
  }

  /** Nanoseconds at which anything is due by itself while the CPU waits, null when nothing is. */
  get nextAlarmNanos() {
    return this.clock.nextAlarm === null ? null : this.clock.nextAlarm.nanos;
  }

  onBreak(code) {
    const { registers } = this.core;
    const [r0, r1] = registers;
    if (code === BREAK_ERASE) {
      this.flash.erase(r0, r1, this.nanos);
    } else if (code === BREAK_PROGRAM) {
      const count = registers[2];
      const data = r1 >= SRAM && r1 + count <= SRAM_END
        ? this.mcu.sram.slice(r1 - SRAM, r1 - SRAM + count)
        : Uint8Array.from({ length: count }, (_, i) => this.mcu.readUint8(r1 + i));
      this.flash.program(r0, data, this.nanos);
    } else if (code === BREAK_EXIT_XIP) {
      this.commands.serial = true;
    } else if (code !== BREAK_NOTHING) {
      // without a debugger a breakpoint is a hard fault, and MicroPython's handler another: lockup
      this.lockUp(this.core.PC - 2);
    }
  }

  /** Stand still until the watchdog or a power cut. */
  lockUp(address) {
    if (this.locked) return;
    console.error(`lockup at 0x${(address >>> 0).toString(16)}, `
      + `link 0x${(this.core.LR >>> 0).toString(16)}`);
    this.locked = true;
  }

  /** Run until targetNanos, a reset or a power cut; returns true when power was cut. */
  runTo(targetNanos) {
    const { clock, core, flash } = this;
    while (clock.nanosCounter < targetNanos && !this.resetReason) {
      if (flash.busy) {
        if (this.workFlash(targetNanos)) return true;
      } else if (core.waiting || this.locked) {
        const alarm = clock.nextAlarm;
        const next = alarm !== null && alarm.nanos < targetNanos ? alarm.nanos : targetNanos;
        clock.tick(Math.max(0, next - clock.nanosCounter));
      } else {
        this.execute(targetNanos);
      }
    }
    return false;
  }

  /** Execute instructions until targetNanos, or until there is something else to do. */
  execute(targetNanos) {
    const { clock, core, engine, flash } = this;
    const cycleNanos = 1e9 / this.mcu.clkSys;
    while (clock.nanosCounter < targetNanos) {
      if (core.interruptsUpdated && core.checkForInterrupts()) core.waiting = false;
      const alarm = clock.nextAlarm;
      const end = alarm !== null && alarm.nanos < targetNanos ? alarm.nanos : targetNanos;
      const cycles = Math.ceil((end - clock.nanosCounter) / cycleNanos);
      this.busyCycles += engine.run(Math.max(1, cycles));
      if (clock.nextAlarm !== null && clock.nextAlarm.nanos <= clock.nanosCounter) clock.tick(0);
      if (core.waiting || flash.busy || this.resetReason || this.locked) return;
    }
  }

  /** Let the flash chip work while the CPU stands still; true when power was cut. */
  workFlash(targetNanos) {
    const { clock, flash } = this;
    if (flash.cutsBefore) {
      flash.drop();
      return true;
    }
    const next = flash.nextNanos;
    const until = Math.min(next, targetNanos);
    const delta = Math.max(0, until - clock.nanosCounter);
    this.stalledNanos += delta;
    clock.tick(delta);
    return clock.nanosCounter >= next && flash.complete();
  }
}
