// The clients' roles, each on a thread of its own.

/** A worker that answers calls. */
class Thread {
  #worker;
  #waiting = new Map();
  #next = 0;
  /** Why nothing is answered any more. */
  #over;

  static async start({ module = new URL('../dist/subrosa.wasm', import.meta.url) } = {}) {
    // Written in one piece, so that bundlers find the worker.
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    const thread = new Thread(worker);
    try {
      await thread.ask('load', String(module));
    } catch (error) {
      thread.close();
      throw error;
    }
    return thread;
  }

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#answer(data);
    worker.onerror = (event) => this.#fail(new Error(event.message || 'the worker cannot be loaded'));
  }

  ask(call, input, onProgress) {
    if (this.#over) return Promise.reject(this.#over);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, call, input });
    });
  }

  close() {
    this.#worker.terminate();
    this.#fail(new Error('the client is closed'));
  }

  #answer({ id, progress, error, ...result }) {
    const waiting = this.#waiting.get(id);
    if (progress) {
      waiting?.onProgress?.(progress);
      return;
    }
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }

  #fail(error) {
    this.#over = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** See index.d.ts. */
export class CkksClient {
  #thread;

  static async start(options) {
    return new CkksClient(await Thread.start(options));
  }

  /** @private */
  constructor(thread) {
    this.#thread = thread;
  }

  async keygen(plan, { onProgress } = {}) {
    const { result, milliseconds } = await this.#thread.ask('keygen', plan, onProgress);
    return { ...result, milliseconds };
  }

  async encrypt(values) {
    const { result, milliseconds } = await this.#thread.ask('encrypt', Float32Array.from(values));
    return { request: result, milliseconds };
  }

  async decrypt(answer) {
    const { result, milliseconds } = await this.#thread.ask('decrypt', answer);
    return { values: result, milliseconds };
  }

  close() {
    this.#thread.close();
  }
}

/** See index.d.ts. */
export class ShareClient {
  #thread;

  static async start(options) {
    return new ShareClient(await Thread.start(options));
  }

  /** @private */
  constructor(thread) {
    this.#thread = thread;
  }

  async share({ model, via, outline, parties }, values) {
    const input = { model, via, outline, keys: parties.map(({ key }) => key), values: Float32Array.from(values) };
    const { result, milliseconds } = await this.#thread.ask('share', input);
    return { ...result, milliseconds };
  }

  async reconstruct(answer) {
    const { result, milliseconds } = await this.#thread.ask('reconstruct', answer);
    return { values: result, milliseconds };
  }

  close() {
    this.#thread.close();
  }
}
