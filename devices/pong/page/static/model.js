// The left player: a model behind the gateway, asked for a move at each step; and the count of how it answers.

import { Refusal } from "./gateway.js";

const REMEMBERED = 100; // latencies
const WAITING = 4; // questions under way at once
const SILENT = 20; // questions in a row without an answer, after which nobody is taken to be there

export class Model {
  // `heard(kind, detail)` is told of "moved", "took over", "refused" and "gone".
  constructor(gateway, app, heard) {
    this.gateway = gateway;
    this.path = `/${app}/predict`;
    this.heard = heard;
    this.chosen = null; // the version that was picked; null: whichever is current
    this.by = null; // who moved last, as name/version
    this.counts = { answers: 0, late: 0, defaults: 0, failed: 0 };
    this.explanation = "";
    this.latencies = [];
    this.action = 0;
    this.step = -1; // for which the newest answer is
    this.waiting = 0;
    this.silent = 0;
  }

  get name() {
    return this.by?.split("/")[0] ?? null;
  }

  get version() {
    return this.by?.split("/")[1] ?? null;
  }

  // Return the answer to an observation; throws the refusal.
  async answer(observation, version = this.chosen) {
    const body = { input: observation, ...(version === null ? {} : { version }) };
    const began = performance.now();
    const answer = await this.gateway.ask("POST", this.path, body, version === null ? [] : [`models/${this.name}/${version}`]);
    const told = await answer.json();
    const output = Number(told.output);
    return {
      action: output === 1 || output === 2 ? output : 0,
      by: answer.headers.get("Wave-Models") || null,
      explanation: told.default ? told.default_explanation : null,
      latency: performance.now() - began,
    };
  }

  // Ask for the move of a step; the answer is there, or is not, when the step is taken.
  async ask(step, observation) {
    if (this.waiting >= WAITING) return;
    this.waiting += 1;
    try {
      this.take(step, await this.answer(observation));
    } catch (error) {
      this.fail(error);
    } finally {
      this.waiting -= 1;
    }
  }

  take(step, answer) {
    this.silent = 0;
    this.counts.answers += 1;
    this.latencies = [answer.latency, ...this.latencies].slice(0, REMEMBERED);
    if (answer.explanation !== null) {
      this.counts.defaults += 1;
      this.explanation = answer.explanation;
    }
    if (step > this.step) [this.step, this.action] = [step, answer.action];
    if (answer.by !== null && answer.by !== this.by) {
      const before = this.by;
      this.by = answer.by;
      this.heard("took over", { before, by: answer.by });
    }
    this.heard("moved", answer);
  }

  fail(error) {
    this.counts.failed += 1;
    this.silent += 1;
    if (error instanceof Refusal) this.heard("refused", error);
    else if (this.silent >= SILENT) this.heard("gone", error);
  }

  // Return the move for a step: the answer if it has come, and else what was done before.
  move(step) {
    if (this.step < step) this.counts.late += 1;
    return this.action;
  }

  // Return the versions that the gateway has of the model; throws the refusal.
  async versions() {
    const answer = await this.gateway.ask("GET", `/v2/models/${this.name}`);
    return (await answer.json()).versions;
  }

  // Let a version play (null: whichever is current), if the key may ask it; throws the refusal.
  async choose(version, observation) {
    if (version !== null) await this.answer(observation, version);
    this.chosen = version;
  }

  median() {
    const sorted = [...this.latencies].sort((one, other) => one - other);
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
  }
}
