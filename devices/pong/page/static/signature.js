// Requests signed by RFC 9421 over the components that wave/guard/signature.py wants covered, with RFC 9530 digests.

import { base64, idText, sha256, utf8 } from "./codec.js";

const COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest" "wave-proof")';
const LIFETIME = 60; // seconds for which a request is valid

export function freshNonce() {
  return idText(crypto.getRandomValues(new Uint8Array(16)));
}

// Return the headers that sign a request, whose url is a URL and whose body is bytes, as the key's entity.
export async function signedHeaders(key, { method, url, body, proof }, now, nonce) {
  const digest = `sha-256=:${base64(await sha256(body))}:`;
  const parameters = `${COMPONENTS};created=${now};expires=${now + LIFETIME};nonce="${nonce}";keyid="${idText(key.id)}";tag="wave"`;
  const base = [
    `"@method": ${method}`,
    `"@authority": ${url.host}`,
    `"@path": ${url.pathname}`,
    `"@query": ${url.search || "?"}`,
    `"content-digest": ${digest}`,
    `"wave-proof": ${proof}`,
    `"@signature-params": ${parameters}`,
  ].join("\n");
  const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", key.sign, utf8(base)));
  return {
    "Content-Digest": digest,
    "Signature-Input": `wave=${parameters}`,
    Signature: `wave=:${base64(signature)}:`,
    "Wave-Proof": proof,
  };
}
