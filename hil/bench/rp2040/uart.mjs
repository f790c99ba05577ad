/**
 * A PL011 UART in emulated time, in the place of the emulator's: FIFOs of 32 with trigger levels,
 * the receive time-out, and bytes that take their time on the line in both directions.
 *
 * Ref: RP2040 data sheet, 4.2; ARM PrimeCell UART (PL011) TRM, 3.3.
 */

const DR = 0x00;
const RSR = 0x04;
const FR = 0x18;
const IBRD = 0x24;
const FBRD = 0x28;
const LCR_H = 0x2c;
const CR = 0x30;
const IFLS = 0x34;
const IMSC = 0x38;
const RIS = 0x3c;
const MIS = 0x40;
const ICR = 0x44;
const DMACR = 0x48;

const FR_BUSY = 1 << 3;
const FR_RXFE = 1 << 4;
const FR_TXFF = 1 << 5;
const FR_RXFF = 1 << 6;
const FR_TXFE = 1 << 7;

const INT_RX = 1 << 4;
const INT_TX = 1 << 5;
const INT_RT = 1 << 6;
const INT_OE = 1 << 10;

const CR_UARTEN = 1 << 0;
const CR_TXE = 1 << 8;
const CR_RXE = 1 << 9;
const LCR_FEN = 1 << 4;
const DR_OE = 1 << 11;

const FIFO_SIZE = 32;
const LEVELS = [4, 8, 16, 24, 28, 28, 28, 28];
const RT_BITS = 32;
const FUNCTION_UART = 2;
const IDLE_BAUD = 9600;

/**
 * @param {Function} RPUART the emulator's class; its register file serves what is not here
 * @returns a class whose objects take its place
 */
export function pl011(RPUART) {
  return class PL011 extends RPUART {
    /** @param pins [tx, rx] numbers of the pins that are wired to the line */
    constructor(rp2040, name, irq, dreq, pins) {
      super(rp2040, name, irq, dreq);
      this.pins = pins;
      this.rxSpeed = 1; // times the baud rate, for bytes that have spent their time elsewhere
      this.tx = [];
      this.rx = [];
      this.line = []; // bytes on their way to the receiver
      this.sent = []; // bytes that have left completely
      this.levels = 0x12;
      this.busy = false;
      this.overrun = false;
      this.txAlarm = rp2040.clock.createAlarm(() => this.byteSent());
      this.lineAlarm = rp2040.clock.createAlarm(() => this.byteArrived());
      this.timeoutAlarm = rp2040.clock.createAlarm(() => this.raise(INT_RT));
    }

    /** Nanoseconds of one bit; a UART without a divisor is taken to run at 9600 baud. */
    get bitNanos() {
      return 1e9 / (this.baudDivider ? this.baudRate : IDLE_BAUD);
    }

    get frameNanos() {
      const parity = this.lineCtrlRegister & 2 ? 1 : 0;
      const stops = this.lineCtrlRegister & 8 ? 2 : 1;
      return (1 + this.wordLength + parity + stops) * this.bitNanos;
    }

    get rxNanos() {
      return this.frameNanos / this.rxSpeed;
    }

    get depth() {
      return this.lineCtrlRegister & LCR_FEN ? FIFO_SIZE : 1;
    }

    get txLevel() {
      return this.depth === 1 ? 0 : LEVELS[this.levels & 7];
    }

    get rxLevel() {
      return this.depth === 1 ? 1 : LEVELS[(this.levels >> 3) & 7];
    }

    get flags() {
      return (this.busy || this.tx.length ? FR_BUSY : 0)
        | (this.rx.length ? 0 : FR_RXFE) | (this.rx.length >= this.depth ? FR_RXFF : 0)
        | (this.tx.length >= this.depth ? FR_TXFF : 0) | (this.tx.length ? 0 : FR_TXFE);
    }

    wired(index) {
      return this.rp2040.gpio[this.pins[index]].functionSelect === FUNCTION_UART;
    }

    raise(bits) {
      this.interruptStatus |= bits;
      this.checkInterrupts();
    }

    checkInterrupts() {
      this.rp2040.setInterrupt(this.irq, !!(this.interruptStatus & this.interruptMask));
    }

    /** Put bytes on the line now; they arrive one frame time after the other. */
    feed(bytes) {
      for (const byte of bytes) this.line.push(byte);
      if (this.line.length && !this.lineAlarm.scheduled) this.lineAlarm.schedule(this.rxNanos);
    }

    byteArrived() {
      this.lineAlarm.scheduled = false;
      const byte = this.line.shift();
      if (this.line.length) this.lineAlarm.schedule(this.rxNanos);
      const on = CR_UARTEN | CR_RXE;
      if ((this.ctrlRegister & on) !== on || !this.wired(1)) return; // nobody listens
      if (this.rx.length >= this.depth) {
        this.overrun = true;
        this.raise(INT_OE);
        return;
      }
      this.rx.push(byte);
      this.timeoutAlarm.schedule(RT_BITS * this.bitNanos);
      if (this.rx.length >= this.rxLevel) this.raise(INT_RX);
    }

    readData() {
      const overrun = this.overrun ? DR_OE : 0;
      this.overrun = false;
      const value = this.rx.length ? this.rx.shift() : 0;
      if (this.rx.length < this.rxLevel) this.interruptStatus &= ~INT_RX;
      if (!this.rx.length) {
        this.interruptStatus &= ~INT_RT;
        this.timeoutAlarm.cancel();
      }
      this.checkInterrupts();
      return value | overrun;
    }

    writeData(value) {
      if (this.tx.length < this.depth) this.tx.push(value & 0xff);
      this.startSending();
      if (this.tx.length > this.txLevel) this.interruptStatus &= ~INT_TX;
      this.checkInterrupts();
    }

    startSending() {
      const on = CR_UARTEN | CR_TXE;
      if (this.busy || !this.tx.length || (this.ctrlRegister & on) !== on) return;
      this.busy = true;
      this.shift = this.tx.shift();
      this.txAlarm.schedule(this.frameNanos);
      if (this.tx.length === this.txLevel) this.interruptStatus |= INT_TX;
    }

    byteSent() {
      this.busy = false;
      if (this.wired(0)) this.sent.push(this.shift);
      this.startSending();
      this.checkInterrupts();
    }

    readUint32(offset) {
      switch (offset) {
        case DR: return this.readData();
        case RSR: return this.overrun ? 8 : 0;
        case FR: return this.flags;
        case IFLS: return this.levels;
        case RIS: return this.interruptStatus;
        case MIS: return this.interruptStatus & this.interruptMask;
        case ICR: case DMACR: return 0;
        default: return super.readUint32(offset);
      }
    }

    writeUint32(offset, value) {
      switch (offset) {
        case DR: this.writeData(value); break;
        case RSR: this.overrun = false; break;
        case IFLS: this.levels = value & 0x3f; break;
        case CR:
          this.ctrlRegister = value & 0xffff;
          this.startSending();
          break;
        case LCR_H:
          this.lineCtrlRegister = value & 0xff;
          break;
        case IMSC:
          this.interruptMask = value & 0x7ff;
          this.checkInterrupts();
          break;
        case ICR:
          this.interruptStatus &= ~this.rawWriteValue;
          this.checkInterrupts();
          break;
        case DMACR: break;
        case IBRD: case FBRD: default: super.writeUint32(offset, value);
      }
    }
  };
}
