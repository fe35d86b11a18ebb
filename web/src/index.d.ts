/** So many evaluation keys of so many are made. */
export interface KeyProgress {
  made: number;
  of: number;
}

/** So many bytes of so many have left. */
export interface UploadProgress {
  sent: number;
  of: number;
}

export interface Keys {
  /** The name of the keys: the digest of their bytes, 64 hexadecimal digits. */
  id: string;
  /** For the server. Neither inputs nor outputs can be read with them. */
  evaluationKeys: Uint8Array;
  milliseconds: number;
}

/**
 * The client of homomorphic inference in a Web Worker. Its secret key lives in the worker's memory,
 * is never handed out, and is gone with {@link CkksClient.close} or the page.
 *
 * Never tell a server what an answer decrypted to, nor whether it made sense: that gives the key
 * away bit by bit.
 */
export class CkksClient {
  private constructor(thread: unknown);
  /** Loads the worker and the WebAssembly module, from beside this package unless told otherwise. */
  static start(options?: { module?: string | URL }): Promise<CkksClient>;
  /** From the server's plan, a fresh key. An earlier one is dropped. */
  keygen(plan: Uint8Array, options?: { onProgress?: (progress: KeyProgress) => void }): Promise<Keys>;
  /** One sample (or, with a plan for many, up to as many as it says), row-major. */
  encrypt(values: ArrayLike<number>): Promise<{ request: Uint8Array; milliseconds: number }>;
  /** An answer to a request that this key encrypted. */
  decrypt(answer: Uint8Array): Promise<{ values: Float32Array; milliseconds: number }>;
  close(): void;
}

/** One of the parties behind a gateway. */
export interface Party {
  name: string;
  /** Of its identity: `sha256:` and 64 hexadecimal digits. */
  fingerprint: string;
  /** What may be sealed to. */
  key: Uint8Array;
  /** Whether whoever has that fingerprint vouches for the key now: false only where that cannot be checked. */
  vouched: boolean;
}

/** What is wanted of a gateway. */
export interface Asked {
  /** The model's name. */
  model: string;
  /** The protocol: `rep3`, `rep3-malicious` or `rep4`. Any, if none is named. */
  via?: string;
  /** The parties' fingerprints by name, as their subrosa.toml has them. */
  parties?: Readonly<Record<string, string>>;
}

/** What an input is shared and sealed by. */
export interface Offer {
  /** As asked for: {@link ShareClient.share} refuses another outline before it looks at an input. */
  model: string;
  via?: string;
  /** The model as the parties see it; only they, only for it, open what is sealed. */
  outline: Uint8Array;
  parties: Party[];
}

/**
 * Reads what {@link InferenceServer.sharing} gives. Other parties than `asked.parties`, or one that does not vouch for
 * its key and the outline, are an error. Where no parties are asked for, the gateway is believed when it says who they
 * are. Signatures are checked with WebCrypto, which browsers have on https pages and on localhost only.
 */
export function readOffer(offer: unknown, asked: Asked): Promise<Offer>;

/** What one party is told of an input: a byte of noise an element, or nothing. */
export interface Share {
  name: string;
  bytes: Uint8Array;
}

/** Shares inputs and puts results together, in a Web Worker. */
export class ShareClient {
  private constructor(thread: unknown);
  /** Loads the worker and the WebAssembly module, from beside this package unless told otherwise. */
  static start(options?: { module?: string | URL }): Promise<ShareClient>;
  /** Splits an input and seals each part to its party; `told` is what each of them gets to see of it. */
  share(offer: Offer, values: ArrayLike<number>): Promise<{ request: Uint8Array; told: Uint8Array[]; milliseconds: number }>;
  /** The answer to the last request. Once. */
  reconstruct(answer: Uint8Array): Promise<{ values: Float32Array; milliseconds: number }>;
  close(): void;
}

/** The same without a worker: for Node, or for a worker of your own. Calls return when they are done. */
export class Module {
  /** `random` fills bytes or throws; it is `crypto.getRandomValues` unless given, which only tests should do. */
  constructor(compiled: WebAssembly.Module, random?: (bytes: Uint8Array) => void);
  /** The evaluation keys, for the server. */
  keygen(plan: Uint8Array, onProgress?: (made: number, of: number) => void): Uint8Array;
  keyId(): string;
  encrypt(values: ArrayLike<number> & { forEach: Float32Array['forEach'] | Array<number>['forEach'] }): Uint8Array;
  decrypt(answer: Uint8Array): Float32Array;
  share(input: {
    outline: Uint8Array;
    keys: Uint8Array[];
    values: ArrayLike<number> & { forEach: Float32Array['forEach'] | Array<number>['forEach'] };
  }): Uint8Array;
  told(party: number): Uint8Array;
  reconstruct(answer: Uint8Array): Float32Array;
}

/** What a server refused: its status and its reason. Status 0: it could not be reached. */
export class ServerError extends Error {
  readonly status: number;
  constructor(status: number, message: string);
}

export interface Tensor {
  name: string;
  datatype: string;
  /** -1 for an axis of any size. */
  shape: number[];
}

export interface ModelMetadata {
  name: string;
  versions: string[];
  inputs: Tensor[];
  outputs: Tensor[];
}

export interface ServerAnswer {
  answer: Uint8Array;
  /** What the server says that computing took. */
  computeMilliseconds?: number;
}

/** A server of the Open Inference Protocol, version 2, with the extensions for ciphertexts and for shares. All calls throw {@link ServerError}. */
export class InferenceServer {
  /** `key`: what `Authorization: Bearer` sends. */
  constructor(url: string | URL, options?: { key?: string });
  key?: string;
  /** A path below the address, read as JSON. */
  json(path: string): Promise<unknown>;
  model(name: string): Promise<ModelMetadata>;
  /** What {@link CkksClient.keygen} takes. */
  plan(name: string): Promise<Uint8Array>;
  putKeys(id: string, keys: Uint8Array, options?: { onProgress?: (progress: UploadProgress) => void }): Promise<void>;
  deleteKeys(id: string): Promise<void>;
  /** Status 409: the server has no such keys (any more); put them again. */
  encryptedInfer(name: string, request: Uint8Array): Promise<ServerAnswer>;
  /** What {@link readOffer} reads. */
  sharing(name: string): Promise<unknown>;
  /** Status 409: the parties have other keys by now; fetch the offer and share anew. */
  sharedInfer(name: string, request: Uint8Array): Promise<ServerAnswer>;
  /** In the clear: a request of the protocol as JSON, and its answer's bytes. */
  infer(name: string, body: Uint8Array): Promise<ServerAnswer>;
}

/** What an inference does, as it does it. Bytes are what went over the line, as it went. */
export type Step =
  | { step: 'plan' }
  | ({ step: 'keygen' } & KeyProgress)
  | { step: 'keys'; milliseconds: number; id: string; bytes: Uint8Array }
  | ({ step: 'sending' } & UploadProgress)
  | { step: 'sent'; milliseconds: number; bytes: Uint8Array }
  | { step: 'encrypt' }
  | { step: 'encrypted'; milliseconds: number; bytes: Uint8Array }
  | { step: 'evaluate' }
  | { step: 'evaluated'; milliseconds: number; computeMilliseconds?: number; sent: Uint8Array; bytes: Uint8Array }
  | { step: 'decrypted'; milliseconds: number }
  | { step: 'parties'; parties: Omit<Party, 'key'>[] }
  | { step: 'share' }
  | { step: 'shared'; milliseconds: number; bytes: Uint8Array; shares: Share[] }
  | { step: 'reconstructed'; milliseconds: number };

export interface Session {
  /** What can be done before there is an input. Nothing but a request for the plan leaves. */
  prepare(onStep?: (step: Step) => void): Promise<void>;
  /** The outputs for one sample. */
  infer(values: ArrayLike<number>, onStep?: (step: Step) => void): Promise<Float32Array>;
  /** Asks the server to drop the keys it has; the next inference sends them again. */
  forget(): void;
  /** Forgets, and ends the worker. */
  close(): void;
}

/** Inferences on ciphertexts: keys are made once, sent before the first request, and again if the server lost them. */
export class EncryptedSession implements Session {
  constructor(server: InferenceServer, model: string, options?: { module?: string | URL });
  prepare(onStep?: (step: Step) => void): Promise<void>;
  infer(values: ArrayLike<number>, onStep?: (step: Step) => void): Promise<Float32Array>;
  forget(): void;
  close(): void;
}

/**
 * Inferences on shares: the server passes sealed boxes on to parties, and reads neither inputs nor outputs. `parties`
 * pins them: fingerprints by name. Without, the server is believed when it says who they are. `via` has the protocol be
 * this one. A session keeps to the model that it was first offered; of several inferences each waits for the one before.
 */
export class SharedSession implements Session {
  constructor(
    server: InferenceServer,
    model: string,
    options?: { module?: string | URL } & Omit<Asked, 'model'>,
  );
  prepare(onStep?: (step: Step) => void): Promise<void>;
  infer(values: ArrayLike<number>, onStep?: (step: Step) => void): Promise<Float32Array>;
  forget(): void;
  close(): void;
}

/** Inferences in the clear: the server reads inputs and outputs. */
export class PlainSession implements Session {
  constructor(server: InferenceServer, model: string);
  prepare(): Promise<void>;
  infer(values: ArrayLike<number>, onStep?: (step: Step) => void): Promise<Float32Array>;
  forget(): void;
  close(): void;
}

/** Pixels of a side of {@link digitImage}. */
export const SIDE: 28;

/** Strokes, each a list of points `[x, y]` of the unit square, as 784 pixels from 0 to 1, placed as in MNIST; ink is 1. */
export function digitImage(strokes: ReadonlyArray<ReadonlyArray<readonly [number, number]>>): Float32Array;
