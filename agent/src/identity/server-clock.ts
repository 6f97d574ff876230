// Certificates hold between two instants, so a wrong clock looks like a wrong certificate. What the control plane says of the time, read
// without believing in its certificate, tells one from the other: it is used for words only.
import { clockBoundMs, clockWords } from '@edgeloop/shared/clock';
import { messageOf } from '@edgeloop/shared/errors';

interface Address {
  host: string;
  port: number;
}

const timeoutMs = 10_000;
const timed = ['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED'];

/** Whether a connection failed since a certificate is not valid yet or no more, by whose clock ever. */
export function isOutOfTime(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof AggregateError && error.errors.some(isOutOfTime)) return true;
  const code = 'code' in error ? String(error.code) : '';
  return timed.includes(code) || /ALERT_CERTIFICATE_EXPIRED$/.test(code) || isOutOfTime(error.cause);
}

/** Why, and what to do. */
export async function outOfTimeWords(error: unknown, address: Address, signal: AbortSignal): Promise<string> {
  const offsetMs = await offsetFrom(address, signal);
  const reason = messageOf(error);
  if (offsetMs !== undefined && Math.abs(offsetMs) > clockBoundMs)
    return `the device's clock is ${clockWords(offsetMs)} (by the control plane's), so certificates do not hold; set it (${reason})`;
  const now = new Date().toISOString();
  return `a certificate does not hold at ${now}, the time of this device (${reason}); set the clock if that is wrong, else renew the certificate`;
}

/** This device's clock minus the other side's; undefined where nobody says. */
async function offsetFrom({ host, port }: Address, signal: AbortSignal): Promise<number | undefined> {
  const { Agent, request } = await import('undici');
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false, timeout: timeoutMs } });
  try {
    const name = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
    const { headers, body } = await request(`https://${name}:${port}/device/v1/ca`, { dispatcher, signal });
    await body.dump();
    const said = Date.parse(String(headers.date));
    return Number.isNaN(said) ? undefined : Date.now() - said;
  } catch {
    // Only a figure for people; that nothing is reached is told by whoever needs more.
    return undefined;
  } finally {
    await dispatcher.destroy();
  }
}
