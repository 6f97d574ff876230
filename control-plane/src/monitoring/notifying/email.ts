// Sends a message by SMTP, to an address that was judged and no other.

import type { ChannelSpec } from '@edgeloop/shared/api/channels';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { Destinations } from './destinations.ts';
import { type Outgoing, subjectOf, textOf } from './message.ts';
import { orAbort } from './webhook.ts';

type Email = Extract<ChannelSpec, { kind: 'email' }>;

/** @throws AppError `destination_refused` or `unavailable`, with the server's reason */
export async function sendEmail(
  { spec, outgoing }: { spec: Email; outgoing: Outgoing },
  destinations: Destinations,
  signal: AbortSignal,
): Promise<void> {
  const { host, port, security, username, password } = spec.smtp;
  const [found] = await orAbort(destinations.resolve({ host, port }), signal);
  if (found === undefined) throw new AppError('unavailable', `${host} has no address`);
  const { createTransport } = await import('nodemailer');
  const transport = createTransport({
    // Asked again, the name could lead elsewhere.
    ...{ host: found.address, port, secure: security === 'tls', requireTLS: security === 'starttls' },
    ignoreTLS: security === 'none',
    tls: { servername: host },
    ...(username === undefined ? {} : { auth: { user: username, pass: password ?? '' } }),
    // Nothing of a message is ever read from a file or an address.
    ...{ disableFileAccess: true, disableUrlAccess: true },
  });
  const { message, id } = outgoing;
  try {
    await orAbort(
      transport.sendMail({
        ...{ from: spec.from, to: spec.to, subject: subjectOf(message), text: textOf(message) },
        messageId: `<${id}@edgeloop>`,
        headers: { 'X-Edgeloop-Message': id, 'Auto-Submitted': 'auto-generated' },
      }),
      signal,
    );
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new AppError('unavailable', `mail by ${host}:${port}: ${messageOf(cause)}`, { cause });
  } finally {
    transport.close();
  }
}
