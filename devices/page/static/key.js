// The visitor's own entity: an Ed25519 key that this browser made and never gives out, and what it signs.

import { concat, encode, idText, sha256, utf8 } from "./codec.js";

const YEAR = 365 * 86400;
const LIFETIME = 30; // seconds for which a message is valid

function prefix(kind) {
  return utf8(`wave/${kind}/v1\0`);
}

function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("wave", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function kept(mode, act) {
  const open = await database();
  try {
    return await new Promise((resolve, reject) => {
      const request = act(open.transaction("keys", mode).objectStore("keys"));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } finally {
    open.close();
  }
}

export function entityBody(fields) {
  return encode([
    1,
    fields.verifyKey,
    fields.exchangeKey,
    fields.created,
    fields.expires,
    [fields.commitment],
    "",
    fields.comment,
    null,
  ]);
}

async function make(now) {
  for (;;) {
    const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
    const exchange = await crypto.subtle.generateKey("X25519", false, ["deriveBits"]);
    const preimage = crypto.getRandomValues(new Uint8Array(32));
    const body = entityBody({
      verifyKey: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)),
      exchangeKey: new Uint8Array(await crypto.subtle.exportKey("raw", exchange.publicKey)),
      created: now,
      expires: now + YEAR,
      commitment: await sha256(preimage),
      comment: "a browser's key",
    });
    const signed = concat(prefix("entity"), body);
    const id = await sha256(signed);
    if (idText(id).startsWith("-")) continue;
    const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, signed));
    return { id, sign: pair.privateKey, exchange, preimage, record: encode(["entity", body, signature]), expires: now + YEAR };
  }
}

// Return this browser's key, made when there is none or it is past its time.
export async function ownKey(now) {
  const found = await kept("readonly", (store) => store.get("own"));
  if (found && found.expires > now) return found;
  const made = await make(now);
  await kept("readwrite", (store) => store.put(made, "own"));
  return made;
}

export async function forgetKey() {
  await kept("readwrite", (store) => store.delete("own"));
}

let sequence = 0;

export function messageBody(fields) {
  return encode([
    1,
    fields.sender,
    fields.permission,
    fields.namespace,
    fields.resource,
    [[fields.contentType, fields.payload]],
    false,
    fields.created,
    fields.created + LIFETIME,
    fields.sequence,
    fields.nonce,
    fields.proof,
  ]);
}

// Return the bytes of a message that the key signs.
export async function signMessage(key, fields) {
  sequence += 1;
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const body = messageBody({ ...fields, sender: key.id, sequence, nonce });
  const signed = concat(prefix("message"), body);
  const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", key.sign, signed));
  return encode(["message", body, signature]);
}
