// One POST to a webhook: signed, to an address that was judged and no other, without following where an answer sends it.
// Signatures follow https://github.com/standard-webhooks/standard-webhooks
import { createHmac, randomBytes } from 'node:crypto';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import { type Destinations, destinationOf } from './destinations.ts';

export interface WebhookMessage {
  url: string;
  /** The same however often the message is sent, so that a receiver knows it again. */
  id: string;
  body: string;
  /** Each signs; a receiver needs one. */
  secrets: readonly string[];
  /** Milliseconds since the epoch. */
  at: number;
}

const secretPrefix = 'whsec_';

export function createWebhookSecret(): string {
  return secretPrefix + randomBytes(32).toString('base64');
}

/** `v1,` and the HMAC-SHA256 of `id.timestamp.body`, base64; several are separated by spaces. */
export function signaturesOf({ id, body, secrets }: Pick<WebhookMessage, 'id' | 'body' | 'secrets'>, seconds: number) {
  const signed = `${id}.${seconds}.${body}`;
  const one = (secret: string) =>
    `v1,${createHmac('sha256', Buffer.from(secret.slice(secretPrefix.length), 'base64'))
      .update(signed)
      .digest('base64')}`;
  return secrets.map(one).join(' ');
}

/**
 * Sends it, signed; resolves when the receiver answered with success.
 * @throws AppError `destination_refused` or `unavailable`, with the reason
 */
export function postWebhook(message: WebhookMessage, destinations: Destinations, signal: AbortSignal): Promise<void> {
  const seconds = Math.floor(message.at / 1000);
  const headers = {
    'webhook-id': message.id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': signaturesOf(message, seconds),
  };
  return postJson({ url: message.url, body: message.body, headers }, destinations, signal);
}

export interface Post {
  url: string;
  body: string;
  headers: Record<string, string>;
}

/** Nothing of an answer's body is read. @throws AppError `destination_refused` or `unavailable`, with the reason */
export async function postJson(post: Post, destinations: Destinations, signal: AbortSignal): Promise<void> {
  const url = new URL(post.url);
  const found = await orAbort(destinations.resolve(destinationOf(url)), signal);
  const { status, location } = await send(url, { post, found, signal });
  if (status >= 200 && status < 300) return;
  const hint = `which is not followed: set the channel's url to where it leads, ${location ?? 'which it does not say'}`;
  throw new AppError(
    'unavailable',
    status >= 300 && status < 400 ? `answered ${status}, ${hint}` : `answered ${status}`,
  );
}

interface Sending {
  post: Post;
  /** The connection goes to one of these: asked again, the name could lead elsewhere. */
  found: { address: string; family: number }[];
  signal: AbortSignal;
}

function send(url: URL, { post, found, signal }: Sending): Promise<{ status: number; location: string | undefined }> {
  const pinned: LookupFunction = (_host, options, done) => {
    const [first] = found;
    if (options.all === true || first === undefined) done(null, found);
    else done(null, first.address, first.family);
  };
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(post.body),
    'user-agent': 'edgeloop-webhook',
    ...post.headers,
  };
  const request = url.protocol === 'https:' ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', headers, lookup: pinned, agent: false, signal }, (response) => {
      resolve({ status: response.statusCode ?? 0, location: originOf(response.headers.location, url) });
      response.destroy();
    });
    sent.on('error', reject);
    sent.end(post.body);
  });
}

/** Resolving a name cannot be stopped, only left behind. */
export function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    work.then(resolve, reject);
  });
}

/** Without path and query, which may hold a secret. */
function originOf(location: string | undefined, base: URL): string | undefined {
  return location !== undefined && URL.canParse(location, base.href) ? new URL(location, base).origin : undefined;
}
