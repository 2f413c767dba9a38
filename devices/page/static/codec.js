// Canonical MessagePack, as wave/codec.py writes it: nil, booleans, whole numbers, text, bytes and arrays, nothing else.

const text = new TextEncoder();

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

export function utf8(string) {
  if (!string.isWellFormed()) throw new RangeError("half a surrogate pair has no canonical form");
  return text.encode(string);
}

function sized(value, bytes) {
  const out = new Uint8Array(bytes);
  for (let place = bytes - 1; place >= 0; place -= 1) {
    out[place] = value % 256;
    value = Math.floor(value / 256);
  }
  return out;
}

function head(code, value, bytes) {
  return concat([code], sized(value, bytes));
}

function number(value) {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} has no canonical form here`);
  if (value < 0x80) return Uint8Array.of(value);
  if (value < 0x100) return head(0xcc, value, 1);
  if (value < 0x10000) return head(0xcd, value, 2);
  if (value < 0x100000000) return head(0xce, value, 4);
  return head(0xcf, value, 8);
}

function string(value) {
  const data = utf8(value);
  const size = data.length;
  if (size < 32) return concat([0xa0 | size], data);
  if (size < 0x100) return concat(head(0xd9, size, 1), data);
  if (size < 0x10000) return concat(head(0xda, size, 2), data);
  return concat(head(0xdb, size, 4), data);
}

function bytes(value) {
  const size = value.length;
  const code = size < 0x100 ? head(0xc4, size, 1) : size < 0x10000 ? head(0xc5, size, 2) : head(0xc6, size, 4);
  return concat(code, value);
}

function array(values) {
  const size = values.length;
  const code = size < 16 ? Uint8Array.of(0x90 | size) : size < 0x10000 ? head(0xdc, size, 2) : head(0xdd, size, 4);
  return concat(code, ...values.map(encode));
}

export function encode(value) {
  if (value === null) return Uint8Array.of(0xc0);
  if (value === false) return Uint8Array.of(0xc2);
  if (value === true) return Uint8Array.of(0xc3);
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return string(value);
  if (value instanceof Uint8Array) return bytes(value);
  if (Array.isArray(value)) return array(value);
  throw new TypeError("a value without a canonical form");
}

export async function sha256(data) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

export function base64(data) {
  let binary = "";
  for (const byte of data) binary += String.fromCharCode(byte);
  return btoa(binary);
}

export function fromBase64(string_) {
  return Uint8Array.from(atob(string_), (letter) => letter.charCodeAt(0));
}

export function idText(identity) {
  return base64(identity).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export function parseId(string_) {
  return fromBase64(`${string_.replaceAll("-", "+").replaceAll("_", "/")}=`);
}
