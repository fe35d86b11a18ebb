// The thread of a client: everything that computes, and the secret key or the shares.

import { Module } from './module.js';

let module;

self.onmessage = async ({ data: { id, call, input } }) => {
  const start = performance.now();
  try {
    const result = await calls[call](input, id);
    const buffer = (result?.evaluationKeys ?? result?.request ?? result)?.buffer;
    const milliseconds = performance.now() - start;
    self.postMessage({ id, result, milliseconds }, buffer ? [buffer] : []);
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};

const calls = {
  async load(url) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`the module cannot be loaded: ${url} answers ${response.status}`);
    // Not compileStreaming: that refuses servers which do not know the type of .wasm files.
    module = new Module(await WebAssembly.compile(await response.arrayBuffer()));
  },
  keygen(plan, id) {
    const evaluationKeys = module.keygen(plan, (made, of) => self.postMessage({ id, progress: { made, of } }));
    return { id: module.keyId(), evaluationKeys };
  },
  encrypt: (values) => module.encrypt(values),
  decrypt: (answer) => module.decrypt(answer),
  share(input) {
    const request = module.share(input);
    return { request, told: input.keys.map((_, party) => module.told(party)) };
  },
  reconstruct: (answer) => module.reconstruct(answer),
};
