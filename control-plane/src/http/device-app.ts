// The device port: HTTPS on which every route but enrolment needs a client certificate that our authority signed and
// that was not revoked.
import { TLSSocket } from 'node:tls';
import { AppError } from '@edgeloop/shared/errors';
import { DeviceId } from '@edgeloop/shared/identifiers';
import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Logger } from 'pino';
import { limitBody } from './body-limit.ts';
import type { DeviceEnv, DevicePeer, DeviceRouter } from './device-router.ts';
import { onError, onNotFound } from './problem.ts';

export interface DeviceAppDeps {
  /** PEM, given to whoever asks: it is pinned by its hash. */
  caCertificate: string;
  /** Routes that need no certificate. */
  open: DeviceRouter[];
  /** Routes of devices that are let in. */
  closed: DeviceRouter[];
  /** Whether the certificate is accepted now. */
  admits: (peer: DevicePeer) => Promise<boolean>;
  /** The verified certificate of the caller; from the TLS socket unless a test says otherwise. */
  peerOf?: (c: Context) => DevicePeer | undefined;
  log: Logger;
}

/** Captures of a thousand rows with many features. */
const maxBodyBytes = 64 * 1024 * 1024;
const maxOpenBodyBytes = 64 * 1024;

export function createDeviceApp(deps: DeviceAppDeps): Hono<DeviceEnv> {
  const { peerOf = tlsPeerOf } = deps;
  const app = new Hono<DeviceEnv>().basePath('/device/v1');
  app.onError(onError(deps.log));
  app.notFound(onNotFound);
  app.get('/ca', (c) => c.body(deps.caCertificate, 200, { 'Content-Type': 'application/x-pem-file' }));
  app.use('/enroll', limitBody(maxOpenBodyBytes));
  for (const router of deps.open) app.route('/', router);
  app.use(async (c, next) => {
    const peer = peerOf(c);
    if (peer === undefined || !(await deps.admits(peer))) throw refused();
    c.set('device', { id: peer.deviceId, serial: peer.serial });
    await next();
  });
  app.use(limitBody(maxBodyBytes));
  for (const router of deps.closed) app.route('/', router);
  return app;
}

function refused(): AppError {
  return new AppError(
    'unauthorized',
    'this needs a client certificate of this fleet that was not revoked; enrol with a join token to get one',
  );
}

/** The certificate on a TLS socket, if our authority signed it. */
export function peerOfSocket(socket: unknown): DevicePeer | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const { subject, serialNumber } = socket.getPeerCertificate();
  const id = DeviceId.safeParse(subject?.CN);
  return id.success ? { deviceId: id.data, serial: serialNumber.toLowerCase() } : undefined;
}

function tlsPeerOf(c: Context): DevicePeer | undefined {
  const bindings: HttpBindings = c.env;
  return peerOfSocket(bindings.incoming.socket);
}
