/**
 * Parts of the RP2040 that the emulator leaves out or answers with a constant.
 *
 * Ref: RP2040 data sheet, 2.17 (ring oscillator), 2.10.7 (chip reset), 4.10 (SSI), 4.6 (timer).
 */

const ROSC_CTRL = 0x00;
const ROSC_STATUS = 0x18;
const ROSC_RANDOMBIT = 0x1c;
const ROSC_STATUS_STABLE = 0x80001000;

/** A small generator with a 128-bit state (sfc32, Chris Doty-Humphrey): the run's only chance. */
export function generator(seed) {
  let a = seed >>> 0;
  let b = Math.floor(seed / 2 ** 32) >>> 0;
  let c = 0x9e3779b9;
  let count = 1;
  const next = () => {
    const sum = (a + b + count) | 0;
    count = (count + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

/** @param noise {random, stuck}: stuck true makes the random bit a constant one */
export function ringOscillator(BasePeripheral, noise) {
  return class ROSC extends BasePeripheral {
    registers = new Uint32Array(8);

    readUint32(offset) {
      if (offset === ROSC_RANDOMBIT) return noise.stuck ? 1 : noise.random() >>> 31;
      if (offset === ROSC_STATUS) return ROSC_STATUS_STABLE;
      return this.registers[(offset >> 2) & 7];
    }

    writeUint32(offset, value) {
      if (offset >= ROSC_CTRL && offset < ROSC_STATUS) this.registers[offset >> 2] = value;
    }
  };
}

/** Voltage regulator and chip reset: the last hard reset was a power-on. */
export function chipReset(BasePeripheral) {
  const VREG = 0xb1 | 1 << 12;
  const HAD_POR = 1 << 8;
  return class ChipReset extends BasePeripheral {
    readUint32(offset) {
      return offset === 8 ? HAD_POR : offset === 4 ? 0x91 : VREG;
    }

    writeUint32() {}
  };
}

const SS_CTRL = 0x0c;
const OVERRIDE_LOW = 2;
const OVERRIDE_HIGH = 3;
const SSI_CTRLR0 = 0x00;
const SSI_SSIENR = 0x08;
const SSI_SR = 0x28;
const SSI_DR0 = 0x60;
const SR_TFNF = 2;
const SR_TFE = 4;
const SR_RFNE = 8;
const SPI_FRF = 3 << 21;
const COMMAND_STATUS_1 = 0x05;
const COMMAND_STATUS_2 = 0x35;
const COMMAND_UNIQUE_ID = 0x4b;
const COMMAND_JEDEC_ID = 0x9f;
const UNIQUE_ID_DUMMIES = 4;
const QUAD_ENABLED = 2;
const JEDEC_ID = [0xef, 0x40, 0x15];

/** The flash chip as the serial interface sees it: status, identity, unique id. */
export class FlashCommands {
  constructor(uniqueId) {
    this.uniqueId = uniqueId;
    this.serial = true; // one byte a word, no XIP mode
    this.forced = false; // the chip select is held low by its pin's override
    this.replies = [];
    this.command = -1;
    this.index = 0;
  }

  select() {
    this.command = -1;
    this.replies = [];
  }

  /** One byte in, one byte out. */
  transfer(byte) {
    if (this.command < 0) {
      this.command = byte;
      this.index = 0;
      return 0xff;
    }
    const index = this.index++;
    switch (this.command) {
      case COMMAND_STATUS_1: return 0;
      case COMMAND_STATUS_2: return QUAD_ENABLED;
      case COMMAND_JEDEC_ID: return JEDEC_ID[index % JEDEC_ID.length];
      case COMMAND_UNIQUE_ID:
        if (index < UNIQUE_ID_DUMMIES) return 0xff;
        return this.uniqueId[(index - UNIQUE_ID_DUMMIES) % this.uniqueId.length];
      default: return 0xff;
    }
  }
}

/** IO_QSPI: the forced chip select frames a command. */
export function qspiPins(BasePeripheral, commands) {
  return class QSPIPins extends BasePeripheral {
    registers = new Uint32Array(64);

    readUint32(offset) {
      return this.registers[(offset >> 2) & 63];
    }

    writeUint32(offset, value) {
      this.registers[(offset >> 2) & 63] = value;
      if (offset !== SS_CTRL) return;
      const override = (value >> 8) & 3;
      commands.forced = override === OVERRIDE_LOW;
      if (override === OVERRIDE_LOW || override === OVERRIDE_HIGH) commands.select();
    }
  };
}

/** SSI: bytes to the flash chip and back, through a FIFO. */
export function serialInterface(RPSSI, commands) {
  return class SSI extends RPSSI {
    readUint32(offset) {
      if (offset === SSI_SR) return SR_TFE | SR_TFNF | (commands.replies.length ? SR_RFNE : 0);
      if (offset === SSI_DR0) {
        const value = commands.replies.shift() ?? 0;
        // the interface lifts its own chip select when it has run dry
        if (!commands.replies.length && !commands.forced) commands.select();
        return value;
      }
      return super.readUint32(offset);
    }

    writeUint32(offset, value) {
      if (offset === SSI_DR0) {
        // addresses of the XIP modes are not bytes, and nothing answers them
        if (commands.serial) commands.replies.push(commands.transfer(value & 0xff));
        return;
      }
      if (offset === SSI_CTRLR0) commands.serial = !(value & SPI_FRF);
      if (offset === SSI_SSIENR && !(value & 1)) commands.select();
      super.writeUint32(offset, value);
    }
  };
}

/** Make the four alarms fire at their microsecond, where the emulator is up to one too early. */
export function exactAlarms(timer) {
  for (const { clockAlarm } of timer.alarms) {
    const schedule = clockAlarm.schedule.bind(clockAlarm);
    clockAlarm.schedule = (deltaNanos) => {
      const past = timer.clock.nanos % 1000;
      schedule(past ? deltaNanos + 1000 - past : deltaNanos);
    };
  }
}

/** Stop the wave of every PWM slice: its registers say all, and edges would cost all idle time. */
export function quietPWM(pwm) {
  for (const channel of pwm.channels) {
    for (const alarm of [channel.alarmA, channel.alarmB, channel.alarmBottom]) {
      alarm.enable = false;
    }
  }
}

/**
 * The level of each pad: what drives it from inside, else from outside, else its pull resistor.
 * The emulator's input register knows only what was set from outside.
 */
export class Pads {
  constructor(rp2040) {
    this.gpio = rp2040.gpio;
    this.driven = 0;
    this.levels = 0;
    this.seenHigh = 0;
    this.seenLow = 0;
    this.changed = false;
    for (const pin of this.gpio) {
      const check = pin.checkForUpdates.bind(pin);
      pin.checkForUpdates = () => {
        check();
        this.settle(pin);
      };
    }
  }

  /** Set what drives pins from outside: masks of the pins and of their levels. */
  drive(driven, levels) {
    const moved = (driven ^ this.driven) | (levels ^ this.levels);
    this.driven = driven;
    this.levels = levels;
    for (const pin of this.gpio) if ((moved >> pin.index) & 1) this.settle(pin);
  }

  settle(pin) {
    const mask = 1 << pin.index;
    let level = pin.rawInputValue; // floating: the charge stays
    if (pin.outputEnable) {
      level = pin.outputValue;
      if (level !== !!(this.lastOutput & mask) || !(this.lastEnable & mask)) this.changed = true;
      if (level) this.seenHigh |= mask;
      else this.seenLow |= mask;
    } else {
      if (this.lastEnable & mask) this.changed = true;
      if (this.driven & mask) level = !!(this.levels & mask);
      else if (pin.pullupEnabled !== pin.pulldownEnabled) level = pin.pullupEnabled;
    }
    this.lastEnable = pin.outputEnable ? this.lastEnable | mask : this.lastEnable & ~mask;
    this.lastOutput = pin.outputEnable && level ? this.lastOutput | mask : this.lastOutput & ~mask;
    if (level !== pin.rawInputValue) pin.setInputValue(level);
  }

  lastEnable = 0;

  lastOutput = 0;
}
