// The clients as a WebAssembly module, and its calls. Runs wherever there are
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
    return this.#call('encrypt', littleEndian(values));
  }

  /** From an answer, 32-bit floats. */
  decrypt(answer) {
    return floats(this.#call('decrypt', answer));
  }

  /**
   * From a model's outline, the parties' sealing keys and 32-bit floats, a request on shares. The outline has to be
   * of this model and, if one is named, of this protocol.
   */
  share({ model, via = '', outline, keys, values }) {
    const [name, protocol] = [model, via].map((text) => new TextEncoder().encode(text));
    const pieces = [name, protocol, outline, joined(keys)].flatMap((piece) => [lengthOf(piece), piece]);
    return this.#call('share', joined([...pieces, littleEndian(values)]));
  }

  /** What the last request tells a party of the first input: a byte of noise an element. */
  told(party) {
    return this.#call('told', Uint8Array.of(party));
  }

  /** From the answer to the last request on shares, 32-bit floats. */
  reconstruct(answer) {
    return floats(this.#call('reconstruct', answer));
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

function lengthOf({ length }) {
  const little = new DataView(new ArrayBuffer(4));
  little.setUint32(0, length, true);
  return new Uint8Array(little.buffer);
}

function littleEndian(values) {
  const little = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => little.setFloat32(4 * i, value, true));
  return new Uint8Array(little.buffer);
}

function floats(bytes) {
  const little = new DataView(bytes.buffer);
  return Float32Array.from({ length: little.byteLength / 4 }, (_, i) => little.getFloat32(4 * i, true));
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function secureRandom(bytes) {
  for (let at = 0; at < bytes.length; at += MOST_RANDOM) {
    crypto.getRandomValues(bytes.subarray(at, at + MOST_RANDOM));
  }
}
