/**
 * Translate Thumb code of a Cortex-M0+ into JavaScript.
 *
 * A trace starts at an address and follows the code: straight on where a conditional branch is not
 * taken, along unconditional branches, into calls and back, and round a loop that comes back to
 * its start. It becomes one function without arguments that runs the trace, leaves registers and
 * flags where the next one finds them, and returns the address that follows.
 *
 * Ref: ARMv6-M Architecture Reference Manual, A5 and A6.7; Cortex-M0+ TRM, 3.3 (cycles).
 */

import {
  add, load, logic, multiple, shiftImmediate, shiftRegister, signed, store, subtract, Trace,
} from './trace.mjs';

const TRACE_MAX = 48;
// calls that a trace may follow into, at one time
const CALL_DEPTH_MAX = 1;
const SRAM = 0x20000000;
const SRAM_SIZE = 0x42000;
const CONDITIONS = ['nz===0', 'nz!==0', 'c!==0', 'c===0', 'nz<0', 'nz>=0', 'v!==0', 'v===0',
  '(c!==0&&nz!==0)', '(c===0||nz===0)', '(nz<0)===(v!==0)', '(nz<0)!==(v!==0)',
  '(nz!==0&&(nz<0)===(v!==0))', '(nz===0||(nz<0)!==(v!==0))'];

/** The sixteen operations on two low registers (A5.2.2). */
function dataProcessing(t, op) {
  const rd = op & 7;
  const rm = (op >> 3) & 7;
  const a = () => t.get(rd);
  const b = () => t.get(rm);
  switch ((op >> 6) & 15) {
    case 0: logic(t, rd, `${a()}&${b()}`); break;
    case 1: logic(t, rd, `${a()}^${b()}`); break;
    case 2: shiftRegister(t, 'LSL', rd, rm); break;
    case 3: shiftRegister(t, 'LSR', rd, rm); break;
    case 4: shiftRegister(t, 'ASR', rd, rm); break;
    case 5:
      t.emit(`a=${a()};b=${b()};d=(a>>>0)+(b>>>0)+c;x=d|0;c=d>4294967295?1:0;`
        + 'v=((a^x)&(b^x))>>>31;nz=x;');
      t.set(rd, 'x');
      t.cycles += 1;
      break;
    case 6:
      t.emit(`a=${a()};b=${b()};d=(a>>>0)+(~b>>>0)+c;x=d|0;c=d>4294967295?1:0;`
        + 'v=((a^b)&(a^x))>>>31;nz=x;');
      t.set(rd, 'x');
      t.cycles += 1;
      break;
    case 7: shiftRegister(t, 'ROR', rd, rm); break;
    case 8: logic(t, null, `${a()}&${b()}`); break;
    case 9: subtract(t, rd, '0', b()); break;
    case 10: subtract(t, null, a(), b()); break;
    case 11: add(t, null, a(), b()); break;
    case 12: logic(t, rd, `${a()}|${b()}`); break;
    case 13: logic(t, rd, `Math.imul(${a()},${b()})`); break;
    case 14: logic(t, rd, `${a()}&~${b()}`); break;
    default: logic(t, rd, `~${b()}`);
  }
}

/** ADD, CMP, MOV on high registers, BX and BLX (A5.2.3). */
function special(t, op) {
  const rm = (op >> 3) & 15;
  const rd = (op & 7) | ((op >> 4) & 8);
  const kind = (op >> 8) & 3;
  if (kind === 3) {
    if (op & 0x80) {
      t.emit(`d=${t.get(rm)};`);
      t.set(14, signed(t.pc | 1));
      t.exitTo('d', 2);
    } else {
      t.returnTo(t.get(rm), 2);
    }
    return;
  }
  if (kind === 1) {
    subtract(t, null, t.get(rd), t.get(rm));
    return;
  }
  const value = kind === 0 ? `${t.get(rd)}+${t.get(rm)}|0` : t.get(rm);
  if (rd === 15) {
    t.exit(`(${value})&-2`, 2);
    t.done = true;
    return;
  }
  t.set(rd, value);
  t.cycles += 1;
}

function loadStoreRegister(t, op) {
  const rt = op & 7;
  const address = `${t.get((op >> 3) & 7)}+${t.get((op >> 6) & 7)}|0`;
  switch ((op >> 9) & 7) {
    case 0: store(t, 4, address, t.get(rt)); break;
    case 1: store(t, 2, address, t.get(rt)); break;
    case 2: store(t, 1, address, t.get(rt)); break;
    case 3: t.set(rt, load(t, 1, address, true)); break;
    case 4: t.set(rt, load(t, 4, address, false)); break;
    case 5: t.set(rt, load(t, 2, address, false)); break;
    case 6: t.set(rt, load(t, 1, address, false)); break;
    default: t.set(rt, load(t, 2, address, true));
  }
}

function loadStoreImmediate(t, op) {
  const rt = op & 7;
  const top = op >> 12;
  const size = top === 8 ? 2 : top === 6 ? 4 : 1;
  const offset = ((op >> 6) & 31) * size;
  const address = offset ? `${t.get((op >> 3) & 7)}+${offset}|0` : t.get((op >> 3) & 7);
  if (op & 0x800) t.set(rt, load(t, size, address, false));
  else store(t, size, address, t.get(rt));
}

function lowList(op) {
  const list = [];
  for (let i = 0; i < 8; i++) if ((op >> i) & 1) list.push(i);
  return list;
}

/** PUSH, POP, extensions, byte reversals, SP arithmetic, CPS and hints (A5.2.5). */
function miscellaneous(t, op) {
  const rd = op & 7;
  const b = () => t.get((op >> 3) & 7);
  const set = (text) => {
    t.set(rd, text);
    t.cycles += 1;
  };
  const kind = (op >> 8) & 15;
  if (kind === 0) {
    const by = (op & 127) << 2;
    t.set(13, op & 0x80 ? `${t.get(13)}-${by}|0` : `${t.get(13)}+${by}|0`);
    t.cycles += 1;
  } else if (kind === 2) {
    const texts = [`${b()}<<16>>16`, `${b()}<<24>>24`, `${b()}&0xffff`, `${b()}&0xff`];
    set(texts[(op >> 6) & 3]);
  } else if (kind === 4 || kind === 5) {
    const list = lowList(op);
    if (kind === 5) list.push(14);
    t.set(13, `${t.get(13)}-${4 * list.length}|0`);
    multiple(t, list, 'r13', false);
  } else if (kind === 10 && ((op >> 6) & 3) !== 2) {
    const a = b();
    const texts = [`${a}<<24|(${a}&0xff00)<<8|${a}>>>8&0xff00|${a}>>>24`,
      `(${a}&0xff00ff)<<8|${a}>>>8&0xff00ff`, '', `(${a}<<24>>16)|${a}>>>8&0xff`];
    set(texts[(op >> 6) & 3]);
  } else if (kind === 12 || kind === 13) {
    const list = lowList(op);
    const count = multiple(t, list, t.get(13), true);
    t.set(13, `${t.get(13)}+${4 * (count + (kind & 1))}|0`);
    if (kind === 13) {
      t.emit(`o=r13-4-${SRAM}>>>0;d=o<${SRAM_SIZE}?M32[o>>2]:E.read32(r13-4|0,cy+${t.cycles}|0);`);
      t.returnTo('d', 3);
    }
  } else if (op === 0xb672) {
    t.emit('E.core.PM=true;');
    t.cycles += 1;
  } else if (op === 0xb662) {
    t.emit('E.unmask();');
    t.exit(signed(t.pc), 1);
    t.done = true;
  } else if (op === 0xbf00 || op === 0xbf10) {
    t.cycles += 1;
  } else {
    return false;
  }
  return true;
}

/** BL, barriers, reading and writing PRIMASK; false for the rest. */
function wide(t, op) {
  const op2 = t.fetch(t.pc);
  if (op >> 11 === 0b11110 && (op2 >> 14) === 3 && (op2 >> 12) & 1) {
    const s = (op >> 10) & 1;
    const i1 = 1 ^ s ^ ((op2 >> 13) & 1);
    const i2 = 1 ^ s ^ ((op2 >> 11) & 1);
    const offset = (-s << 24) | (i1 << 23) | (i2 << 22) | ((op & 0x3ff) << 12)
      | ((op2 & 0x7ff) << 1);
    t.pc += 2;
    t.set(14, signed(t.pc | 1));
    if (t.returns.length < CALL_DEPTH_MAX) {
      t.returns.push(t.pc);
      t.cycles += 3;
      t.moveTo(t.pc + offset);
    } else {
      t.exit(signed(t.pc + offset), 3);
      t.done = true;
    }
    return true;
  }
  if (op === 0xf3bf && (op2 & 0xffc0) === 0x8f40) {
    t.pc += 2;
    t.cycles += 3;
    return true;
  }
  if (op === 0xf3ef && (op2 & 0xf0ff) === 0x8010) {
    t.pc += 2;
    t.set((op2 >> 8) & 15, 'E.core.PM?1:0');
    t.cycles += 3;
    return true;
  }
  if (op >> 4 === 0xf38 && op2 === 0x8810) {
    t.pc += 2;
    t.emit(`if(${t.get(op & 15)}&1)E.core.PM=true;else E.unmask();`);
    t.exit(signed(t.pc), 3);
    t.done = true;
    return true;
  }
  return false;
}

/** A conditional branch: back to the start of the trace, or out of it. */
function branchIf(t, condition, target) {
  t.emit(`if(${condition})`);
  if (target === t.start) {
    t.loops = true;
    t.emit(`{cy=cy+${t.cycles + 2}|0;if(cy<K[1])continue;@W K[0]=cy;return ${signed(target)};}`);
  } else {
    t.exit(signed(target), 2);
  }
  t.cycles += 1;
}

/** Write down one instruction; false when it is for the emulator's own interpreter. */
function instruction(t) {
  const op = t.fetch(t.pc);
  t.pc += 2;
  const rd8 = (op >> 8) & 7;
  const imm8 = op & 255;
  switch (op >> 11) {
    case 0: case 1: case 2:
      shiftImmediate(t, op >> 11, op & 7, (op >> 3) & 7, (op >> 6) & 31);
      return true;
    case 3: {
      const b = op & 0x400 ? `${(op >> 6) & 7}` : t.get((op >> 6) & 7);
      (op & 0x200 ? subtract : add)(t, op & 7, t.get((op >> 3) & 7), b);
      return true;
    }
    case 4: logic(t, rd8, `${imm8}`); return true;
    case 5: subtract(t, null, t.get(rd8), `${imm8}`); return true;
    case 6: add(t, rd8, t.get(rd8), `${imm8}`); return true;
    case 7: subtract(t, rd8, t.get(rd8), `${imm8}`); return true;
    case 8:
      if (op & 0x400) special(t, op);
      else dataProcessing(t, op);
      return true;
    case 9: {
      const address = ((t.pc + 2) & ~3) + imm8 * 4;
      const value = t.literal(address);
      t.set(rd8, value === null ? load(t, 4, signed(address), false) : signed(value));
      if (value !== null) t.cycles += 2;
      return true;
    }
    case 10: case 11: loadStoreRegister(t, op); return true;
    case 12: case 13: case 14: case 15: case 16: case 17: loadStoreImmediate(t, op); return true;
    case 18: store(t, 4, `${t.get(13)}+${imm8 * 4}|0`, t.get(rd8)); return true;
    case 19: t.set(rd8, load(t, 4, `${t.get(13)}+${imm8 * 4}|0`, false)); return true;
    case 20: t.set(rd8, signed(((t.pc + 2) & ~3) + imm8 * 4)); t.cycles += 1; return true;
    case 21: t.set(rd8, `${t.get(13)}+${imm8 * 4}|0`); t.cycles += 1; return true;
    case 22: case 23: return miscellaneous(t, op);
    case 24: {
      const count = multiple(t, lowList(op), t.get(rd8), false);
      t.set(rd8, `${t.get(rd8)}+${4 * count}|0`);
      return true;
    }
    case 25: {
      const list = lowList(op);
      t.emit(`d=${t.get(rd8)};`);
      const count = multiple(t, list, 'd', true);
      if (!list.includes(rd8)) t.set(rd8, `d+${4 * count}|0`);
      return true;
    }
    case 26: case 27: {
      const condition = (op >> 8) & 15;
      if (condition >= 14) return false;
      branchIf(t, CONDITIONS[condition], t.pc + 2 + ((op << 24) >> 23));
      return true;
    }
    case 28: {
      const target = t.pc + 2 + ((op << 21) >> 20);
      t.cycles += 2;
      if (target === t.start) {
        t.cycles -= 2;
        branchIf(t, 'true', target);
        t.done = true;
      } else {
        t.moveTo(target);
      }
      return true;
    }
    default: return wide(t, op);
  }
}

/**
 * Translate the trace at start.
 * @param fetch (address) => halfword of code
 * @param literal (address) => word there when it can never change, null otherwise
 * @returns {source, ranges}: the body of the function, and which bytes it was made of
 */
export function translate(start, fetch, literal) {
  const t = new Trace(start, fetch, literal);
  while (!t.done && t.count < TRACE_MAX) {
    const at = t.pc;
    if (!instruction(t)) {
      t.pc = at;
      if (t.count === 0) t.emit(`K[0]=cy;return E.interpret(${signed(at)});`);
      else t.exit(signed(at), 0);
      t.done = true;
      t.ranges.at(-1)[1] = Math.max(t.ranges.at(-1)[1], at + 4);
      break;
    }
    t.count++;
    const range = t.ranges.at(-1);
    if (t.pc > range[1]) range[1] = t.pc;
  }
  if (!t.done) t.exit(signed(t.pc), 0);
  const used = [...t.used].map((i) => `r${i}=R[${i}]`);
  const back = [...t.dirty].map((i) => `R[${i}]=r${i};`).join('');
  const flags = 'K[3]=nz;K[4]=c;K[5]=v;';
  const body = t.code.join('').replaceAll('@W', () => back + flags);
  const names = ['a=0', 'b=0', 'o=0', 'x=0', 'd=0', 'nz=K[3]', 'c=K[4]', 'v=K[5]', 'cy=K[0]',
    ...used];
  const source = `let ${names.join(',')};${t.loops ? `for(;;){${body}}` : body}`;
  return { source, ranges: t.ranges };
}
