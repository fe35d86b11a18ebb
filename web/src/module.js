// The homomorphic client as a WebAssembly module, and its calls. Runs wherever there are
// WebAssembly and crypto.getRandomValues: in a worker, a page, Node.

/** What getRandomValues gives at once. */
const MOST_RANDOM = 65536;

/** One client: at most one key, which never leaves the module's memory. */
export class Module {
  #exports;
  #progress;

  /**
   * @param {WebAssembly.Module} compiled
   * @param {(bytes: Uint8Array) => void} [random] fills bytes, or throws; tests give others
   */
  constructor(compiled, random = secureRandom) {
    const host = {
      random: (address, length) => {
        try {
          random(new Uint8Array(this.#exports.memory.buffer, address, length));
          return 0;
        } catch {
          return 1;
        }
      },
      progress: (made, of) => this.#progress?.(made, of),
    };
    this.#exports = new WebAssembly.Instance(compiled, { host }).exports;
  }

  /** From a plan, a fresh key: the evaluation keys, for the server. */
  keygen(plan, onProgress) {
    this.#progress = onProgress;
    try {
      return this.#call('keygen', plan);
    } finally {
      this.#progress = undefined;
    }
  }

  /** The key's name: 64 hexadecimal digits. */
  keyId() {
    return new TextDecoder().decode(this.#call('key_id', new Uint8Array()));
  }

  /** From 32-bit floats, a request. */
  encrypt(values) {
    const little = new DataView(new ArrayBuffer(4 * values.length));
    values.forEach((value, i) => little.setFloat32(4 * i, value, true));
    return this.#call('encrypt', new Uint8Array(little.buffer));
  }

  /** From an answer, 32-bit floats. */
  decrypt(answer) {
    const little = new DataView(this.#call('decrypt', answer).buffer);
    return Float32Array.from({ length: little.byteLength / 4 }, (_, i) => little.getFloat32(4 * i, true));
  }

  #call(name, input) {
    const { memory, input: room, output, output_len: length, [name]: run } = this.#exports;
    const address = room(input.length);
    new Uint8Array(memory.buffer, address, input.length).set(input);
    const status = run();
    // The call may have grown the memory: its buffer is asked for anew.
    const result = new Uint8Array(memory.buffer, output(), length()).slice();
    if (status !== 0) throw new Error(new TextDecoder().decode(result));
    return result;
  }
}

function secureRandom(bytes) {
  for (let at = 0; at < bytes.length; at += MOST_RANDOM) {
    crypto.getRandomValues(bytes.subarray(at, at + MOST_RANDOM));
  }
}
