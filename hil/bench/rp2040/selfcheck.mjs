/**
 * Check the translator against the emulator's interpreter on random code and operands.
 *
 * Usage: node selfcheck.mjs EMULATOR_FOLDER TRIALS SEED. Prints `ok` and a count, or the first
 * difference. Where the interpreter is known to be wrong (carry of shifts by a register that holds
 * 0 or more than 32, overflow of ADCS and SBCS, write-back of STM with its base in the list) a
 * model in plain arithmetic judges instead.
 */

import { loadEmulator } from './chip.mjs';
import { Engine } from './engine.mjs';
import { generator } from './peripherals.mjs';

const CODE = 0x20001000;
const DATA = 0x20002000;
const DATA_SIZE = 0x800;
const STACK = DATA + 0x400;
const BKPT = 0xbe00;
const CODE_MAX = 12;
const FLAGS = ['N', 'Z', 'C', 'V'];
const SHIFTS = { 2: 'LSL', 3: 'LSR', 4: 'ASR', 7: 'ROR' };

const [folder, trials, seed] = process.argv.slice(2);
const lib = await loadEmulator(folder);
const random = generator(Number(seed));
const pick = (count) => random() % count;

const reference = new lib.RP2040();
const mcu = new lib.RP2040();
const engine = new Engine();
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
reference.logger = quiet;
mcu.logger = quiet;
const flash = { busy: false };
engine.attach({ mcu, flash, resetReason: 0, locked: false, lockUp() {} }, mcu.bootrom);

/** Operands that find edges more often than chance does. */
function operand() {
  const edges = [0, 1, 2, 31, 32, 33, 255, 256, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff,
    0xfffffffe];
  return pick(3) ? random() >>> 0 : edges[pick(edges.length)];
}

/** Code whose loads and stores stay in the data area: bases are set up by `prepare`. */
function arithmetic() {
  const forms = [
    () => pick(0x1800), // shifts by an immediate
    () => 0x1800 + pick(0x800), // three-operand add and subtract
    () => 0x2000 + pick(0x2000), // immediates
    () => 0x4000 + pick(0x400), // two low registers
    () => 0xb200 + pick(0x100), // extensions
    () => [0xba00, 0xba40, 0xbac0][pick(3)] + pick(64),
    () => [0x4400, 0x4500, 0x4600][pick(3)] + (pick(256) & 0xff),
    () => 0xa800 + pick(0x800),
    () => 0xb000 + pick(0x100),
  ];
  for (;;) {
    const op = forms[pick(forms.length)]();
    const high = op >> 10 === 17 ? (op & 7) | ((op >> 4) & 8) : 0;
    const from = op >> 10 === 17 ? (op >> 3) & 15 : 0;
    if (high < 13 && from !== 15 && op >> 8 !== 0x47) return op; // the PC has its own trials
  }
}

function memory() {
  const rn = 7;
  const rm = 6;
  const rt = pick(6);
  const forms = [
    () => 0x6000 | pick(2) << 11 | pick(32) << 6 | rn << 3 | rt,
    () => 0x7000 | pick(2) << 11 | pick(32) << 6 | rn << 3 | rt,
    () => 0x8000 | pick(2) << 11 | pick(32) << 6 | rn << 3 | rt,
    () => 0x5000 | pick(8) << 9 | rm << 6 | rn << 3 | rt,
    () => 0x9000 | pick(2) << 11 | rt << 8 | pick(64),
    () => 0xb400 | pick(2) << 8 | 1 + pick(255),
    () => 0xbc00 | pick(2) << 8 | 1 + pick(255),
    () => 0xc000 | pick(2) << 11 | rn << 8 | 1 + pick(255),
    () => 0x4800 | rt << 8 | pick(64),
  ];
  return forms[pick(forms.length)]();
}

function branch() {
  const forms = [
    () => 0xd000 | pick(14) << 8 | pick(256),
    () => 0xe000 | pick(2048),
    () => 0x4700 | pick(2) << 7 | pick(13) << 3,
    () => 0x4687 | pick(13) << 3,
    () => 0x4487 | pick(13) << 3,
  ];
  return forms[pick(forms.length)]();
}

/** The same memory, registers and flags on both sides. */
function prepare(code) {
  for (let i = 0; i < DATA_SIZE / 4; i++) {
    const word = (0x20000000 | random() >>> 8) >>> 0; // a popped PC must be an address
    reference.writeUint32(DATA + 4 * i, word);
    mcu.writeUint32(DATA + 4 * i, word);
  }
  const words = [...code, ...new Array(CODE_MAX - code.length).fill(BKPT)];
  words.forEach((half, i) => {
    reference.writeUint16(CODE + 2 * i, half);
    mcu.writeUint16(CODE + 2 * i, half);
  });
  const values = Array.from({ length: 15 }, operand);
  values[6] = pick(64) * 4;
  values[7] = DATA + pick(64) * 4;
  values[13] = STACK;
  for (let i = 0; i < 15; i++) {
    if (i >= 8 && i < 13) values[i] = (0x20000000 | values[i] >>> 8) >>> 0;
    reference.core.registers[i] = values[i];
    engine.registers[i] = values[i];
  }
  for (const flag of FLAGS) {
    const value = !!pick(2);
    reference.core[flag] = value;
    mcu.core[flag] = value;
  }
  // no result is negative and zero at once
  if (reference.core.N && reference.core.Z) reference.core.N = false;
  for (const flag of FLAGS) mcu.core[flag] = reference.core[flag];
  reference.core.PC = CODE;
}

/** Put right what the interpreter gets wrong; before are the registers and flags before op. */
function correct(op, before) {
  const { core } = reference;
  const rd = op & 7;
  const a = before.registers[rd];
  const b = before.registers[(op >> 3) & 7];
  const kind = op >> 10 === 16 ? (op >> 6) & 15 : -1;
  if (kind === 5 || kind === 6) {
    const other = kind === 5 ? b : ~b >>> 0;
    const sum = BigInt(a | 0) + BigInt(other | 0) + (before.C ? 1n : 0n);
    core.V = BigInt.asIntN(32, sum) !== sum;
    core.C = BigInt(a) + BigInt(other) + (before.C ? 1n : 0n) > 0xffffffffn;
  } else if (kind in SHIFTS) {
    const by = b & 255;
    const last = (bit) => !!((a >>> bit) & 1);
    if (by === 0) core.C = before.C;
    else if (kind === 2 && by > 31) core.C = by === 32 && last(0);
    else if (kind === 3 && by > 31) core.C = by === 32 && last(31);
    else if (kind === 4 && by > 31) core.C = last(31);
  } else if (op >> 11 === 24 && (op >> ((op >> 8) & 7)) & 1) {
    const count = (op & 255).toString(2).replaceAll('0', '').length;
    core.registers[(op >> 8) & 7] = before.registers[(op >> 8) & 7] + 4 * count;
  }
}

function differences() {
  const out = [];
  for (let i = 0; i < 15; i++) {
    const [want, got] = [reference.core.registers[i], engine.registers[i]];
    if (want !== got) out.push(`r${i} ${want.toString(16)} is ${got.toString(16)}`);
  }
  for (const flag of FLAGS) {
    if (reference.core[flag] !== mcu.core[flag]) out.push(`${flag} is ${mcu.core[flag]}`);
  }
  for (let at = DATA; at < DATA + DATA_SIZE; at += 4) {
    if (reference.readUint32(at) !== mcu.readUint32(at)) out.push(`memory at ${at.toString(16)}`);
  }
  return out;
}

function trial(code) {
  prepare(code);
  const before = code.map((op) => {
    const { core } = reference;
    const state = { registers: core.registers.slice(), C: core.C };
    core.executeInstruction();
    correct(op, state);
    return state;
  });
  engine.flushSRAM();
  engine.kept.clear();
  engine.K[0] = 0;
  engine.K[1] = 1; // once round a loop
  engine.baseNanos = 0;
  const pc = engine.trace(CODE)();
  const out = differences();
  const want = reference.core.PC & ~1;
  if (pc !== want) out.push(`pc ${want.toString(16)} is ${pc.toString(16)}`);
  if (out.length) {
    const text = code.map((op) => op.toString(16)).join(' ');
    console.log(`code ${text}: ${out.join(', ')}; r before `
      + Array.from(before[0].registers, (value) => value.toString(16)).join(' '));
    process.exit(1);
  }
}

for (let at = CODE - 0x1000; at < CODE + 0x1000; at += 2) {
  reference.writeUint16(at, BKPT); // where a branch may lead
  mcu.writeUint16(at, BKPT);
}
for (let i = 0; i < Number(trials); i++) {
  const kind = i % 4;
  if (kind === 0) trial([arithmetic()]);
  else if (kind === 1) trial([memory()]);
  else if (kind === 2) trial([branch()]);
  else trial(Array.from({ length: 2 + pick(8) }, arithmetic));
}
console.log(`ok ${trials}`);
