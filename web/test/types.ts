// What a user's TypeScript makes of the package: compiled, never run.
import {
  CkksClient, EncryptedSession, InferenceServer, Module, PlainSession, SIDE, ServerError, ShareClient, SharedSession,
  digitImage, readOffer,
} from 'subrosa-web';
import type { Session, Step } from 'subrosa-web';

export async function steps(url: string): Promise<number> {
  const server = new InferenceServer(url, { key: 'k' });
  const client = await CkksClient.start({ module: new URL('subrosa.wasm', url) });
  const { id, evaluationKeys } = await client.keygen(await server.plan('m'), { onProgress: ({ made, of }) => void (made / of) });
  await server.putKeys(id, evaluationKeys, { onProgress: ({ sent, of }) => void (sent / of) });
  const { request } = await client.encrypt(new Float32Array(SIDE * SIDE));
  const { answer, computeMilliseconds } = await server.encryptedInfer('m', request);
  const { values } = await client.decrypt(answer);
  client.close();
  return (computeMilliseconds ?? 0) + values.length;
}

export async function shares(server: InferenceServer, fingerprint: string): Promise<Float32Array> {
  const offer = await readOffer(await server.sharing('m'), { model: 'm', parties: { hospital: fingerprint } });
  const client = await ShareClient.start();
  const { request, told } = await client.share(offer, new Float32Array(SIDE * SIDE));
  const { answer } = await server.sharedInfer('m', request);
  const pinned: Session = new SharedSession(server, 'm', { parties: { hospital: fingerprint }, via: 'rep3' });
  pinned.close();
  return told.length > 0 ? (await client.reconstruct(answer)).values : new Float32Array();
}

export async function sessions(server: InferenceServer): Promise<Float32Array | undefined> {
  const show = (step: Step) => (step.step === 'evaluated' ? step.bytes.length + step.sent.length : step.step);
  const session: Session = Math.random() < 0.5 ? new EncryptedSession(server, 'm') : new PlainSession(server, 'm');
  try {
    return await session.infer(digitImage([[[0.1, 0.2], [0.3, 0.4]]]), show);
  } catch (error) {
    if (error instanceof ServerError && error.status === 401) server.key = 'another';
    return undefined;
  } finally {
    session.close();
  }
}

export function without(compiled: WebAssembly.Module, plan: Uint8Array): Uint8Array {
  const module = new Module(compiled);
  module.keygen(plan, (made, of) => void (made / of));
  // @ts-expect-error: the key stays in the module.
  void module.secretKey;
  // @ts-expect-error: a client is started, not constructed.
  void new CkksClient();
  return module.encrypt(new Float32Array(30));
}
