/**
 * Write down a trace of Thumb code as JavaScript: registers, memory, flags, ways out.
 *
 * What the generated code uses: R registers (Int32Array), K numbers of the run (`K_*` below), M8,
 * M16, M32 views of SRAM, F8, F16, F32 of flash, and E for everything slow: other addresses,
 * system instructions, exception returns. Inside, registers are local variables r0..r14, and the
 * flags are nz, a value with the sign and the zero of the result, and c and v, 0 or 1. a, b, d, o,
 * x are scratch; cy counts cycles since the run began.
 */

export const K_CYCLES = 0;
export const K_LIMIT = 1;
export const K_CODE_TOP = 2;
export const K_NZ = 3;
export const K_C = 4;
export const K_V = 5;
export const K_SIZE = 6;

const SRAM = 0x20000000;
const SRAM_SIZE = 0x42000;
export const signed = (value) => `${value | 0}`;

/** What a trace is made of while it is written down. */
export class Trace {
  /** @param fetch (address) => halfword; constant: code there never changes */
  constructor(start, fetch, literal) {
    this.start = start;
    this.pc = start;
    this.fetch = fetch;
    this.literal = literal;
    this.code = [];
    this.used = new Set();
    this.dirty = new Set();
    this.cycles = 0;
    this.count = 0;
    this.done = false;
    this.loops = false;
    this.returns = []; // where the calls that the trace has followed should come back to
    this.ranges = [[start, start]];
  }

  emit(text) {
    this.code.push(text);
  }

  get(index) {
    if (index === 15) return signed(this.pc + 2);
    this.used.add(index);
    return `r${index}`;
  }

  set(index, text) {
    this.used.add(index);
    this.dirty.add(index);
    this.emit(index === 13 ? `r13=(${text})&-4;` : `r${index}=${text};`);
  }

  /** Leave for an address; target is an expression. */
  exit(target, cycles) {
    this.emit(`{@W K[0]=cy+${this.cycles + cycles}|0;return ${target};}`);
  }

  /** Leave for an address in a register, which may be an exception return. */
  exitTo(value, cycles) {
    this.emit(`{const t=${value};@W K[0]=cy+${this.cycles + cycles}|0;`
      + 'return (t>>>28)===15?E.exceptionReturn(t):t&-2;}');
    this.done = true;
  }

  /** Return to an address in a register: go on there if it is where a followed call came from. */
  returnTo(value, cycles) {
    const expected = this.returns.pop();
    if (expected === undefined) {
      this.exitTo(value, cycles);
      return;
    }
    this.emit(`if(${value}!==${signed(expected | 1)})`);
    this.exitTo(value, cycles);
    this.done = false;
    this.cycles += cycles;
    this.moveTo(expected);
  }

  moveTo(address) {
    this.pc = address;
    this.ranges.push([address, address]);
  }
}

export function load(t, size, address, isSigned) {
  const n = `cy+${t.cycles}|0`;
  const ram = size === 4 ? 'M32[o>>2]' : size === 2 ? 'M16[o>>1]' : 'M8[o]';
  const flash = size === 4 ? 'F32[(a&0xffffff)>>2]' : size === 2 ? 'F16[(a&0xffffff)>>1]'
    : 'F8[a&0xffffff]';
  const extend = !isSigned ? '' : size === 2 ? '<<16>>16' : '<<24>>24';
  t.emit(`a=${address};o=a-${SRAM}>>>0;`
    + `x=(o<${SRAM_SIZE}?${ram}:(a>>>24)===16?${flash}:E.read${size * 8}(a,${n}))${extend};`);
  t.cycles += 2;
  return 'x';
}

export function store(t, size, address, value) {
  const n = `cy+${t.cycles}|0`;
  const ram = size === 4 ? 'M32[o>>2]' : size === 2 ? 'M16[o>>1]' : 'M8[o]';
  t.emit(`a=${address};o=a-${SRAM}>>>0;if(o<${SRAM_SIZE}){if(o<K[2])E.codeWritten(o);`
    + `${ram}=${value};}else E.write${size * 8}(a,${value},${n});`);
  t.cycles += 2;
}

/** Move the registers of list between memory from address on; returns their count. */
export function multiple(t, list, address, isLoad) {
  const count = list.length;
  const n = `cy+${t.cycles}|0`;
  t.emit(`a=${address};o=a-${SRAM}>>>0;`);
  const names = list.map((index) => t.get(index));
  if (isLoad) {
    for (const index of list) if (index !== 15) t.dirty.add(index);
    const fast = names.map((name, i) => `${name}=M32[(o>>2)+${i}];`).join('');
    const slow = names.map((name, i) => `${name}=E.read32(a+${4 * i}|0,${n});`).join('');
    t.emit(`if(o<${SRAM_SIZE}){${fast}}else{${slow}}`);
  } else {
    const fast = names.map((name, i) => `M32[(o>>2)+${i}]=${name};`).join('');
    const slow = names.map((name, i) => `E.write32(a+${4 * i}|0,${name},${n});`).join('');
    t.emit(`if(o<${SRAM_SIZE}){if(o<K[2])E.codeWrittenMany(o,${count});${fast}}else{${slow}}`);
  }
  t.cycles += 1 + count;
  return count;
}

export function add(t, rd, a, b) {
  t.emit(`a=${a};b=${b};x=a+b|0;c=(x>>>0)<(a>>>0)?1:0;v=((a^x)&(b^x))>>>31;nz=x;`);
  if (rd !== null) t.set(rd, 'x');
  t.cycles += 1;
}

export function subtract(t, rd, a, b) {
  t.emit(`a=${a};b=${b};x=a-b|0;c=(a>>>0)>=(b>>>0)?1:0;v=((a^b)&(a^x))>>>31;nz=x;`);
  if (rd !== null) t.set(rd, 'x');
  t.cycles += 1;
}

export function logic(t, rd, text) {
  t.emit(`nz=${text};`);
  if (rd !== null) t.set(rd, 'nz');
  t.cycles += 1;
}

/** LSL, LSR, ASR by an immediate (0 means 32 for the right shifts). */
export function shiftImmediate(t, kind, rd, rm, amount) {
  const a = t.get(rm);
  if (kind === 0) {
    if (amount) t.emit(`c=${a}>>>${32 - amount}&1;`);
    logic(t, rd, amount ? `${a}<<${amount}` : a);
  } else if (kind === 1) {
    t.emit(`c=${a}>>>${amount ? amount - 1 : 31}&1;`);
    logic(t, rd, amount ? `${a}>>>${amount}|0` : '0');
  } else {
    t.emit(`c=${a}>>>${amount ? amount - 1 : 31}&1;`);
    logic(t, rd, `${a}>>${amount || 31}`);
  }
}

/** LSL, LSR, ASR, ROR by a register: its low byte, 0 leaves carry alone. */
export function shiftRegister(t, kind, rd, rm) {
  const a = t.get(rd);
  t.emit(`b=${t.get(rm)}&255;x=${a};if(b!==0){`);
  if (kind === 'LSL') {
    t.emit('if(b<32){c=x>>>(32-b)&1;x=x<<b;}else{c=b===32?x&1:0;x=0;}');
  } else if (kind === 'LSR') {
    t.emit('if(b<32){c=x>>>(b-1)&1;x=x>>>b|0;}else{c=b===32?x>>>31:0;x=0;}');
  } else if (kind === 'ASR') {
    t.emit('if(b<32){c=x>>>(b-1)&1;x=x>>b;}else{c=x>>>31;x=x>>31;}');
  } else {
    t.emit('b&=31;if(b!==0)x=x>>>b|x<<(32-b);c=x>>>31;');
  }
  t.emit('}nz=x;');
  t.set(rd, 'x');
  t.cycles += 1;
}
