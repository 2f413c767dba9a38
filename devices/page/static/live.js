// The connection to the page's server: opened again when it is lost, each question answered once.

import { base64, fromBase64, concat, parseId, utf8 } from "./codec.js";
import { ownKey, signMessage } from "./key.js";

export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

const LOST = { detail: "the connection to the home was lost", code: "page.lost", hint: "it is tried again by itself" };

export class Live {
  constructor(heard) {
    this.heard = heard; // (kind, message)
    this.number = 0;
    this.waiting = new Map();
    this.pause = 300;
    this.offset = 0;
    this.key = null;
    this.connect();
  }

  now() {
    return Math.floor(Date.now() / 1000 + this.offset);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/live`);
    this.socket.onmessage = (event) => this.take(JSON.parse(event.data));
    this.socket.onclose = () => this.lost();
  }

  lost() {
    for (const [, reject] of this.waiting.values()) reject(new Refusal(LOST));
    this.waiting.clear();
    this.heard("offline", {});
    setTimeout(() => this.connect(), this.pause);
    this.pause = Math.min(2 * this.pause, 8000);
  }

  async take(message) {
    if (message.type === "hello") {
      await this.greet(message);
    } else if (message.type === "answer") {
      const waiting = this.waiting.get(message.n);
      this.waiting.delete(message.n);
      if (waiting && message.problem) waiting[1](new Refusal(message.problem));
      else if (waiting) waiting[0](message.ok);
    } else {
      this.pause = 300;
      this.heard(message.type.split(" ")[0], message);
    }
  }

  async greet(hello) {
    this.home = hello;
    this.offset = hello.time - Date.now() / 1000;
    if (!window.crypto?.subtle) {
      this.heard("keyless", hello);
      return;
    }
    try {
      this.key = await ownKey(this.now());
    } catch (error) {
      this.heard("keyless", { ...hello, reason: String(error) });
      return;
    }
    const payload = concat(utf8("wave/page/v1\0"), parseId(hello.page), fromBase64(hello.challenge));
    const message = await signMessage(this.key, {
      permission: "subscribe",
      namespace: parseId(hello.namespace),
      resource: "*",
      contentType: "application/wave-page",
      payload,
      created: this.now(),
      proof: null,
    });
    this.socket.send(JSON.stringify({ entity: base64(this.key.record), message: base64(message) }));
    this.heard("hello", hello);
  }

  ask(what, fields = {}) {
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) {
        reject(new Refusal(LOST));
        return;
      }
      this.number += 1;
      this.waiting.set(this.number, [resolve, reject]);
      this.socket.send(JSON.stringify({ n: this.number, do: what, ...fields }));
    });
  }

  // Sign a command with the visitor's own key and have it carried; throws the refusal.
  async command(where, value) {
    const payload = utf8(JSON.stringify(value));
    const proof = await this.ask("prove", { where, payload: base64(payload) });
    const message = await signMessage(this.key, {
      permission: "publish",
      namespace: parseId(this.home.namespace),
      resource: where,
      contentType: "application/json",
      payload,
      created: this.now(),
      proof: fromBase64(proof.id),
    });
    return this.ask("act", { message: base64(message), proof: proof.proof });
  }
}
