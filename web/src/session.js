// Inferences: all steps of one, with what each took.

import { CkksClient, ShareClient } from './client.js';
import { readOffer } from './parties.js';

/** Answers of a server that forgot the keys, or whose parties have others. */
const KEYS_GONE = 409;
/** How often shares are made anew for one question. */
const MOST_AGAIN = 2;

/** Inferences on ciphertexts. See index.d.ts. */
export class EncryptedSession {
  #server;
  #model;
  #client;
  #module;
  #keys;
  #prepared;
  #sent = false;
  #closed = false;

  constructor(server, model, { module } = {}) {
    this.#server = server;
    this.#model = model;
    this.#module = module;
  }

  /** Gets the plan and makes keys; nothing is sent. Once: later calls wait for the first. */
  prepare(onStep = () => {}) {
    this.#prepared ??= this.#prepare(onStep).catch((error) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }

  async infer(values, onStep = () => {}) {
    await this.prepare(onStep);
    await this.#sendKeys(onStep);
    onStep({ step: 'encrypt' });
    const encrypted = await this.#client.encrypt(values);
    onStep({ step: 'encrypted', milliseconds: encrypted.milliseconds, bytes: encrypted.request });
    const { answer, computeMilliseconds, milliseconds } = await this.#evaluate(encrypted.request, onStep);
    onStep({ step: 'evaluated', milliseconds, computeMilliseconds, sent: encrypted.request, bytes: answer });
    const decrypted = await this.#client.decrypt(answer);
    onStep({ step: 'decrypted', milliseconds: decrypted.milliseconds });
    return decrypted.values;
  }

  forget() {
    if (!this.#sent) return;
    this.#sent = false;
    // Where it fails, the server drops what has not been used for long.
    this.#server.deleteKeys(this.#keys.id).catch(() => {});
  }

  close() {
    this.forget();
    this.#closed = true;
    this.#client?.close();
  }

  async #prepare(onStep) {
    onStep({ step: 'plan' });
    const plan = await this.#server.plan(this.#model);
    this.#client ??= await CkksClient.start(this.#module && { module: this.#module });
    if (this.#closed) this.#client.close();
    const onProgress = ({ made, of }) => onStep({ step: 'keygen', made, of });
    this.#keys = await this.#client.keygen(plan, { onProgress });
    const { id, evaluationKeys, milliseconds } = this.#keys;
    onStep({ step: 'keys', milliseconds, id, bytes: evaluationKeys });
  }

  async #sendKeys(onStep) {
    if (this.#sent) return;
    const { id, evaluationKeys } = this.#keys;
    const start = performance.now();
    const onProgress = ({ sent, of }) => onStep({ step: 'sending', sent, of });
    onStep({ step: 'sending', sent: 0, of: evaluationKeys.length });
    await this.#server.putKeys(id, evaluationKeys, { onProgress });
    this.#sent = true;
    onStep({ step: 'sent', milliseconds: performance.now() - start, bytes: evaluationKeys });
  }

  async #evaluate(request, onStep) {
    onStep({ step: 'evaluate' });
    try {
      return await timed(() => this.#server.encryptedInfer(this.#model, request));
    } catch (error) {
      if (error.status !== KEYS_GONE) throw error;
    }
    this.#sent = false;
    await this.#sendKeys(onStep);
    onStep({ step: 'evaluate' });
    return timed(() => this.#server.encryptedInfer(this.#model, request));
  }
}

/** Inferences on shares, by parties behind the server. See index.d.ts. */
export class SharedSession {
  #server;
  #model;
  #module;
  #asked;
  #client;
  #offer;
  #prepared;
  /** The inferences before: the worker knows one request at a time. */
  #before = Promise.resolve();
  #closed = false;

  constructor(server, model, { module, parties, via } = {}) {
    this.#server = server;
    this.#model = model;
    this.#module = module;
    this.#asked = { model, via, parties };
  }

  /** Asks who the parties are; nothing is shared. Once: later calls wait for the first. */
  prepare(onStep = () => {}) {
    this.#prepared ??= this.#prepare(onStep).catch((error) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }

  infer(values, onStep = () => {}) {
    const kept = Float32Array.from(values);
    const result = this.#before.then(() => this.#infer(kept, onStep));
    this.#before = result.catch(() => {});
    return result;
  }

  async #infer(values, onStep) {
    await this.prepare(onStep);
    for (let again = 0; ; again++) {
      onStep({ step: 'share' });
      const { request, told, milliseconds } = await this.#client.share(this.#offer, values);
      const shares = this.#offer.parties.map(({ name }, party) => ({ name, bytes: told[party] }));
      onStep({ step: 'shared', milliseconds, bytes: request, shares });
      onStep({ step: 'evaluate' });
      try {
        const asked = await timed(() => this.#server.sharedInfer(this.#model, request));
        const { answer, computeMilliseconds } = asked;
        onStep({ step: 'evaluated', milliseconds: asked.milliseconds, computeMilliseconds, sent: request, bytes: answer });
        const opened = await this.#client.reconstruct(answer);
        onStep({ step: 'reconstructed', milliseconds: opened.milliseconds });
        return opened.values;
      } catch (error) {
        if (error.status !== KEYS_GONE || again === MOST_AGAIN) throw error;
      }
      await this.#ask(onStep);
    }
  }

  /** Nobody keeps anything. */
  forget() {}

  close() {
    this.#closed = true;
    this.#client?.close();
  }

  async #prepare(onStep) {
    await this.#ask(onStep);
    this.#client ??= await ShareClient.start(this.#module && { module: this.#module });
    if (this.#closed) this.#client.close();
  }

  async #ask(onStep) {
    const offer = await readOffer(await this.#server.sharing(this.#model), this.#asked);
    const first = this.#offer?.outline ?? offer.outline;
    if (first.length !== offer.outline.length || first.some((byte, i) => byte !== offer.outline[i])) {
      throw new Error('the gateway offers another model than it did');
    }
    this.#offer = offer;
    const parties = this.#offer.parties.map(({ name, fingerprint, vouched }) => ({ name, fingerprint, vouched }));
    onStep({ step: 'parties', parties });
  }
}

/** Inferences in the clear: the server reads what is sent. See index.d.ts. */
export class PlainSession {
  #server;
  #model;
  #input;

  constructor(server, model) {
    this.#server = server;
    this.#model = model;
  }

  async prepare() {
    this.#input ??= (await this.#server.model(this.#model)).inputs[0];
  }

  async infer(values, onStep = () => {}) {
    await this.prepare();
    const shape = this.#input.shape.map((axis) => (axis === -1 ? 1 : axis));
    const tensor = { name: this.#input.name, datatype: 'FP32', shape, data: Array.from(values) };
    const sent = new TextEncoder().encode(JSON.stringify({ inputs: [tensor] }));
    onStep({ step: 'evaluate' });
    const { answer, computeMilliseconds, milliseconds } = await timed(() => this.#server.infer(this.#model, sent));
    onStep({ step: 'evaluated', milliseconds, computeMilliseconds, sent, bytes: answer });
    return Float32Array.from(JSON.parse(new TextDecoder().decode(answer)).outputs[0].data.flat(Infinity));
  }

  forget() {}

  close() {}
}

async function timed(run) {
  const start = performance.now();
  const result = await run();
  return { ...result, milliseconds: performance.now() - start };
}
