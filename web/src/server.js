// A server of the Open Inference Protocol with the extensions for ciphertexts and for shares.

/** What a server refused, or that it could not be reached (status 0). */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.name = 'ServerError';
    this.status = status;
  }
}

/** See index.d.ts. */
export class InferenceServer {
  #base;

  constructor(url, { key } = {}) {
    const base = new URL(url, globalThis.location?.href);
    this.#base = base.href.endsWith('/') ? base : new URL(`${base.href}/`);
    /** The bearer key, if the server asks for one. */
    this.key = key;
  }

  /** A path below the server's address, as JSON. */
  async json(path) {
    return (await this.#ask('GET', path)).json();
  }

  model(name) {
    return this.json(`v2/models/${encodeURIComponent(name)}`);
  }

  async plan(name) {
    return bytes(await this.#ask('GET', `v2/models/${encodeURIComponent(name)}/encryption-plan`));
  }

  async putKeys(id, keys, { onProgress } = {}) {
    const path = `v2/keys/${id}`;
    // fetch does not tell how much of a body has left.
    if (onProgress && globalThis.XMLHttpRequest) await this.#upload(path, keys, onProgress);
    else await this.#ask('PUT', path, keys, 'application/octet-stream');
  }

  async deleteKeys(id) {
    // Also while the page is being left.
    await this.#ask('DELETE', `v2/keys/${id}`, undefined, undefined, { keepalive: true });
  }

  async encryptedInfer(name, request) {
    const path = `v2/models/${encodeURIComponent(name)}/encrypted-infer`;
    const response = await this.#ask('POST', path, request, 'application/octet-stream');
    return { answer: await bytes(response), computeMilliseconds: computed(response) };
  }

  sharing(name) {
    return this.json(`v2/models/${encodeURIComponent(name)}/sharing`);
  }

  async sharedInfer(name, request) {
    const path = `v2/models/${encodeURIComponent(name)}/shared-infer`;
    const response = await this.#ask('POST', path, request, 'application/octet-stream');
    return { answer: await bytes(response), computeMilliseconds: computed(response) };
  }

  async infer(name, body) {
    const response = await this.#ask('POST', `v2/models/${encodeURIComponent(name)}/infer`, body, 'application/json');
    return { answer: await bytes(response), computeMilliseconds: computed(response) };
  }

  async #ask(method, path, body, type, more) {
    const common = { credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer' };
    const options = { method, headers: this.#headers(type), body, ...common, ...more };
    let response;
    try {
      response = await fetch(new URL(path, this.#base), options);
    } catch {
      throw new ServerError(0, 'the server cannot be reached, or closed the connection');
    }
    if (!response.ok) throw refusal(response.status, await response.text());
    return response;
  }

  #upload(path, body, onProgress) {
    const request = new XMLHttpRequest();
    request.open('PUT', new URL(path, this.#base));
    for (const [name, value] of Object.entries(this.#headers('application/octet-stream'))) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = ({ loaded, total }) => onProgress({ sent: loaded, of: total });
    return new Promise((resolve, reject) => {
      request.onload = () => {
        if (request.status >= 200 && request.status < 300) resolve();
        else reject(refusal(request.status, request.responseText));
      };
      request.onerror = () => reject(new ServerError(0, 'the connection broke while keys were sent'));
      request.send(body);
    });
  }

  #headers(type) {
    return { ...(type && { 'content-type': type }), ...(this.key && { authorization: `Bearer ${this.key}` }) };
  }
}

async function bytes(response) {
  return new Uint8Array(await response.arrayBuffer());
}

/** Of the header `Subrosa-Compute-Ms`, where there is one. */
function computed(response) {
  const text = response.headers.get('subrosa-compute-ms');
  return text === null ? undefined : Number(text);
}

function refusal(status, text) {
  let message = `the server answered ${status}`;
  try {
    const { error } = JSON.parse(text);
    if (typeof error === 'string') message = `${error} (${status})`;
  } catch {
    // Not from our server: a proxy's page says nothing to a reader.
  }
  return new ServerError(status, message);
}
