/**
 * The device side of the RP2040's USB controller and the PC at the other end of the cable.
 *
 * The emulator finishes transfers at once, polls an idle OUT endpoint forever and swaps the halves
 * of a double buffer; here a transfer takes PACKET_NANOS a packet, an armed OUT endpoint stays
 * armed until the PC has data, and halves go out in order.
 *
 * Ref: RP2040 data sheet, 4.1.2.5; USB 2.0, 5.8.4 (bulk at full speed: 19 packets a frame).
 */

const BUFFER_CONTROL = 0x80;
const BUFFER_CONTROL_LAST = 0xfc;
const EP0_BUFFER = 0x100;
const EP_CONTROL = 0x08;
const DOUBLE_BUFFERED = 1 << 30;
const AVAILABLE = 1 << 10;
const FULL = 1 << 15;
const LENGTH = 0x3ff;
const HALF = 16;
const HALF_OFFSET = 64;
const PACKET_SIZE = 64;
const PACKET_NANOS = 52_000;
const ENDPOINTS = 16;

/** The part of a USB host that a CDC device needs: enumeration is the emulator's own USBCDC. */
export class Cable {
  /** @param lib what `loadEmulator` returned; plugged: the PC is there from the start */
  constructor(lib, rp2040, plugged) {
    this.rp2040 = rp2040;
    this.usb = rp2040.usbCtrl;
    this.view = rp2040.usbDPRAMView;
    this.plugged = plugged;
    this.configured = false;
    this.toDevice = []; // chunks
    this.toDeviceOffset = 0;
    this.fromDevice = [];
    this.armed = new Array(ENDPOINTS).fill(false);
    this.held = []; // IN endpoints that wait for a PC
    this.inAlarms = [];
    this.outAlarms = [];
    for (let endpoint = 0; endpoint < ENDPOINTS; endpoint++) {
      this.inAlarms.push(rp2040.clock.createAlarm(() => this.finishIn(endpoint)));
      this.outAlarms.push(rp2040.clock.createAlarm(() => this.finishOut(endpoint)));
    }
    this.cdc = new lib.USBCDC(this.usb);
    this.cdc.onDeviceConnected = () => { this.configured = true; };
    this.cdc.onSerialData = (data) => this.fromDevice.push(data);
    this.usb.onEndpointRead = () => {};
    this.usb.DPRAMUpdated = (offset, value) => this.bufferControlWritten(offset, value);
    const enumerate = this.usb.onUSBEnabled;
    this.usb.onUSBEnabled = () => { if (this.plugged) enumerate(); };
    this.enumerate = enumerate;
  }

  /** Plug or unplug the PC. Unplugged, endpoints stay armed and nothing moves. */
  setPlugged(plugged) {
    if (plugged === this.plugged) return;
    this.plugged = plugged;
    if (!plugged) return;
    if (!this.configured && this.usb.mainCtrl & 1) this.enumerate();
    for (const endpoint of this.held.splice(0)) this.inAlarms[endpoint].schedule(PACKET_NANOS);
    this.pollOut();
  }

  /** Queue bytes that the PC wants to send. */
  feed(bytes) {
    if (!bytes.length) return;
    this.toDevice.push(bytes);
    this.pollOut();
  }

  /** Number of bytes that the PC could not hand over yet. */
  get waiting() {
    let count = -this.toDeviceOffset;
    for (const chunk of this.toDevice) count += chunk.length;
    return count;
  }

  pollOut() {
    const endpoint = this.cdc.outEndpoint;
    if (endpoint < 0 || !this.plugged || !this.armed[endpoint] || !this.toDevice.length) return;
    if (!this.outAlarms[endpoint].scheduled) this.outAlarms[endpoint].schedule(PACKET_NANOS);
  }

  bufferControlWritten(offset, value) {
    if (offset < BUFFER_CONTROL || offset > BUFFER_CONTROL_LAST) return;
    if (!(value & AVAILABLE)) return;
    const endpoint = (offset - BUFFER_CONTROL) >> 3;
    if (offset & 4) {
      this.armed[endpoint] = true;
      if (endpoint === this.cdc.outEndpoint) this.pollOut();
      return;
    }
    if (!this.plugged) {
      if (!this.held.includes(endpoint)) this.held.push(endpoint);
      return;
    }
    const packets = this.isDouble(endpoint) && (value >>> HALF) & AVAILABLE ? 2 : 1;
    this.inAlarms[endpoint].schedule(packets * PACKET_NANOS);
  }

  isDouble(endpoint) {
    if (endpoint === 0) return false;
    return !!(this.usb.readEndpointControlReg(endpoint, false) & DOUBLE_BUFFERED);
  }

  bufferOffset(endpoint, out) {
    if (endpoint === 0) return EP0_BUFFER;
    return this.view.getUint32(EP_CONTROL + 8 * (endpoint - 1) + (out ? 4 : 0), true) & 0xffc0;
  }

  /** The PC has taken what was in an IN endpoint. */
  finishIn(endpoint) {
    this.inAlarms[endpoint].scheduled = false;
    const register = BUFFER_CONTROL + 8 * endpoint;
    let control = this.view.getUint32(register, true);
    if (!(control & AVAILABLE)) return; // aborted
    const at = this.bufferOffset(endpoint, false);
    const first = control & LENGTH;
    const data = Array.from(this.rp2040.usbDPRAM.subarray(at, at + first));
    control &= ~(AVAILABLE | FULL);
    if (this.isDouble(endpoint) && (control >>> HALF) & AVAILABLE) {
      const second = (control >>> HALF) & LENGTH;
      const half = at + HALF_OFFSET;
      data.push(...this.rp2040.usbDPRAM.subarray(half, half + second));
      control &= ~((AVAILABLE | FULL) << HALF);
    }
    this.view.setUint32(register, control >>> 0, true);
    this.usb.indicateBufferReady(endpoint, false);
    this.usb.onEndpointWrite(endpoint, Uint8Array.from(data));
  }

  /** Hand one packet of the PC to an armed OUT endpoint. */
  finishOut(endpoint) {
    this.outAlarms[endpoint].scheduled = false;
    if (!this.armed[endpoint] || !this.toDevice.length || !this.plugged) return;
    const register = BUFFER_CONTROL + 8 * endpoint + 4;
    let control = this.view.getUint32(register, true);
    if (!(control & AVAILABLE)) return;
    this.armed[endpoint] = false;
    const room = Math.min(control & LENGTH, PACKET_SIZE);
    const data = this.take(room);
    this.rp2040.usbDPRAM.set(data, this.bufferOffset(endpoint, true));
    control = (control & ~(LENGTH | AVAILABLE)) | FULL | data.length;
    this.view.setUint32(register, control >>> 0, true);
    this.usb.indicateBufferReady(endpoint, true);
  }

  take(room) {
    const chunk = this.toDevice[0];
    const data = chunk.subarray(this.toDeviceOffset, this.toDeviceOffset + room);
    this.toDeviceOffset += data.length;
    if (this.toDeviceOffset >= chunk.length) {
      this.toDevice.shift();
      this.toDeviceOffset = 0;
    }
    return data;
  }
}
