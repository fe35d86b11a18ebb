// The client's role, on a thread of its own.

/** See index.d.ts. */
export class CkksClient {
  #worker;
  #waiting = new Map();
  #next = 0;
  /** Why nothing is answered any more. */
  #over;

  static async start({ module = new URL('../dist/subrosa.wasm', import.meta.url) } = {}) {
    // Written in one piece, so that bundlers find the worker.
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    const client = new CkksClient(worker);
    try {
      await client.#ask('load', String(module));
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  /** @private */
  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#answer(data);
    worker.onerror = (event) => this.#fail(new Error(event.message || 'the worker cannot be loaded'));
  }

  async keygen(plan, { onProgress } = {}) {
    const { result, milliseconds } = await this.#ask('keygen', plan, onProgress);
    return { ...result, milliseconds };
  }

  async encrypt(values) {
    const { result, milliseconds } = await this.#ask('encrypt', Float32Array.from(values));
    return { request: result, milliseconds };
  }

  async decrypt(answer) {
    const { result, milliseconds } = await this.#ask('decrypt', answer);
    return { values: result, milliseconds };
  }

  close() {
    this.#worker.terminate();
    this.#fail(new Error('the client is closed'));
  }

  #ask(call, input, onProgress) {
    if (this.#over) return Promise.reject(this.#over);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, call, input });
    });
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
