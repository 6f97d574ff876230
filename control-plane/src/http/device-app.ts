// The device port: HTTPS on which every route but enrolment needs a client certificate that our authority signed and
// that was not revoked.
import { TLSSocket } from 'node:tls';
import type { HttpBindings } from '@hono/node-server';
import { AppError } from '@edgeloop/shared/errors';
import { DeviceId } from '@edgeloop/shared/identifiers';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { Logger } from 'pino';
import type { DeviceEnv, DeviceRouter } from './device-router.ts';
import { onError, onNotFound } from './problem.ts';

export interface DevicePeer {
  deviceId: string;
  serial: string;
}

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
  const open = new Hono<DeviceEnv>();
  open.get('/ca', (c) => c.body(deps.caCertificate, 200, { 'Content-Type': 'application/x-pem-file' }));
  open.use('/enroll', limit(maxOpenBodyBytes));
  for (const router of deps.open) open.route('/', router);

  const closed = new Hono<DeviceEnv>();
  closed.use(async (c, next) => {
    const peer = peerOf(c);
    if (peer === undefined || !(await deps.admits(peer))) throw refused();
    c.set('device', { id: peer.deviceId, serial: peer.serial });
    await next();
  });
  closed.use(limit(maxBodyBytes));
  for (const router of deps.closed) closed.route('/', router);

  const app = new Hono<DeviceEnv>();
  app.onError(onError(deps.log));
  app.notFound(onNotFound);
  app.route('/device/v1', open);
  app.route('/device/v1', closed);
  return app;
}

function refused(): AppError {
  return new AppError(
    'unauthorized',
    'this needs a client certificate of this fleet that was not revoked; enrol with a join token to get one',
  );
}

function limit(maxSize: number) {
  return bodyLimit({
    maxSize,
    onError: () => {
      throw new AppError('payload_too_large', `the body must be at most ${maxSize} bytes`);
    },
  });
}

/** The certificate on a TLS socket, if our authority signed it. */
export function peerOfSocket(socket: unknown): DevicePeer | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const { subject, serialNumber } = socket.getPeerCertificate();
  const id = DeviceId.safeParse(subject?.CN);
  return id.success ? { deviceId: id.data, serial: serialNumber.toLowerCase() } : undefined;
}

function tlsPeerOf(c: Context<{ Bindings: HttpBindings }>): DevicePeer | undefined {
  return peerOfSocket(c.env.incoming.socket);
}
