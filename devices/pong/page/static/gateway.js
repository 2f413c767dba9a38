// The guarded gateway, asked from the browser: each request signed with the page's own key, with a proof of its right.

import { base64, idText, utf8 } from "./codec.js";
import { freshNonce, signedHeaders } from "./signature.js";

const LONGEST_HEADER = 7000; // characters: most servers take 8 KiB
const ATTEMPTS = 4;
const SESSION = "/.well-known/wave/session";
const UNGUARDED = { code: "gateway.unguarded", detail: "the gateway answers without a proof: it has no guard, or that one runs dry" };
const PARAMETER = /([a-z]+)="((?:[^"\\]|\\.)*)"/g;

export class Refusal extends Error {
  // `status` is that of whoever refused, `problem` says why (RFC 9457), `wanted` what it takes.
  constructor(status, problem, wanted) {
    super(problem.detail);
    this.status = status;
    this.problem = problem;
    this.wanted = wanted;
  }
}

async function problemOf(answer) {
  const told = await answer.json().catch(() => ({}));
  return told.detail ? told : { code: `http.${answer.status}`, detail: told.cause ?? `it answered ${answer.status}` };
}

// What a gateway may want: one resource, whose name a person can put into a command as it stands.
const PLAIN = /^[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*$/;

function challengeOf(answer) {
  const [scheme, ...rest] = (answer.headers.get("WWW-Authenticate") ?? "").split(" ");
  const named = Object.fromEntries([...rest.join(" ").matchAll(PARAMETER)].map(([, name, value]) => [name, value]));
  const meant = PLAIN.test(named.namespace ?? "") && PLAIN.test(named.resource ?? "") && named.permission === "predict";
  return scheme === "WAVE" && meant ? named : null;
}

export class Gateway {
  constructor(origin, key, now) {
    this.origin = origin;
    this.key = key;
    this.now = now;
    this.names = new Map(); // what namespaces are called here
    this.challenges = new Map(); // by method and path: what the gateway wants proved
    this.proofs = new Map(); // by what is wanted
    this.shown = new Set(); // ids of proofs that the gateway has seen whole
  }

  // Return the gateway's answer. `also` are resources that the body names and that 'predict' is needed on as well.
  // Throws a Refusal, or a TypeError where no gateway answers.
  async ask(method, path, value, also = []) {
    const body = value === undefined ? new Uint8Array() : utf8(JSON.stringify(value));
    const wanted = await this.wanted(method, path, body, also);
    let proof = this.proofs.get(wanted.key) ?? (await this.prove(wanted));
    let renewed = false;
    let nonce = null;
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.send(method, path, body, proof, nonce);
      if (answer.ok) {
        this.shown.add(proof.id);
        return answer;
      }
      const problem = await problemOf(answer);
      if (answer.status !== 401 && answer.status !== 403) this.shown.add(proof.id);
      if (attempt === ATTEMPTS) throw new Refusal(answer.status, problem, wanted);
      if (problem.code === "proof.unknown") {
        this.shown.delete(proof.id);
      } else if (problem.code === "message.before_restart" && nonce === null) {
        nonce = challengeOf(answer)?.nonce ?? null;
      } else if ((answer.status === 401 || answer.status === 403) && !renewed) {
        renewed = true;
        const another = await this.prove(wanted).catch(() => null);
        if (another === null || another.id === proof.id) throw new Refusal(answer.status, problem, wanted);
        proof = another;
      } else {
        throw new Refusal(answer.status, problem, wanted);
      }
    }
  }

  // What a request needs, which the gateway says itself to whoever asks without a proof.
  async wanted(method, path, body, also) {
    const place = `${method} ${path}`;
    if (!this.challenges.has(place)) {
      const answer = await this.plain(method, path, body, {});
      const challenge = challengeOf(answer);
      if (answer.ok) throw new Refusal(answer.status, UNGUARDED, null);
      if (!challenge) throw new Refusal(answer.status, await problemOf(answer), null);
      this.challenges.set(place, { ...challenge, problem: await problemOf(answer) });
    }
    const { namespace, permission, resource, problem } = this.challenges.get(place);
    const rights = [[permission, resource], ...also.map((one) => ["predict", one])];
    return { namespace, name: this.names.get(namespace) ?? "", rights, problem, key: JSON.stringify(rights) };
  }

  // Ask the page's own server for a proof, which it gives to nobody but the key's owner; throws its refusal.
  async prove(wanted) {
    this.proofs.delete(wanted.key);
    const body = utf8(JSON.stringify({ entity: base64(this.key.record), namespace: wanted.namespace, wanted: wanted.rights }));
    const request = { method: "POST", url: new URL("/prove", location.href), body, proof: "none" };
    const headers = await signedHeaders(this.key, request, this.now(), freshNonce());
    const answer = await fetch(request.url, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body });
    const problem = answer.ok ? null : await problemOf(answer);
    const proof = answer.ok ? await answer.json() : null;
    wanted.name = (proof ?? problem).namespace ?? "";
    this.names.set(wanted.namespace, wanted.name);
    if (problem) throw new Refusal(answer.status, problem, wanted);
    this.proofs.set(wanted.key, proof);
    return proof;
  }

  async send(method, path, body, proof, nonce) {
    let header = this.shown.has(proof.id) ? `id=${proof.id}` : `:${proof.proof}:`;
    if (header.length > LONGEST_HEADER) {
      await this.handOver(method, path, proof, header);
      header = `id=${proof.id}`;
    }
    return this.signed(method, path, body, header, nonce);
  }

  // Show a proof that is too long for a header in the body of a session's beginning; the session itself is not used.
  async handOver(method, path, proof, whole) {
    const half = new Uint8Array(await crypto.subtle.exportKey("raw", this.key.exchange.publicKey));
    const opening = utf8(JSON.stringify({ exchange: idText(half), method, path, proof: whole }));
    await this.signed("POST", SESSION, opening, `id=${proof.id}`, null);
  }

  async signed(method, path, body, proof, nonce) {
    const url = new URL(path, this.origin);
    return this.plain(method, path, body, await signedHeaders(this.key, { method, url, body, proof }, this.now(), nonce ?? freshNonce()));
  }

  plain(method, path, body, headers) {
    const settings = { method, headers: { ...headers, "Content-Type": "application/json" }, credentials: "omit" };
    if (method !== "GET") settings.body = body;
    return fetch(new URL(path, this.origin), settings);
  }
}
