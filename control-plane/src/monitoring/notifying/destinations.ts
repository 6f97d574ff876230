// Which addresses a webhook may reach: the public ones, and what the operator of the server allows by name. Judged are
// addresses, after the name was resolved and whatever way it was written, and each time anew: a name can change its mind.
import { lookup } from 'node:dns/promises';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { AppError, messageOf } from '@edgeloop/shared/errors';

const allowVariable = 'EDGELOOP_WEBHOOK_ALLOW';

/** Special purpose addresses: https://www.iana.org/assignments/iana-ipv4-special-registry */
const privateV4: readonly [string, number][] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
];
/** What is not global unicast (2000::/3), and what of it leads elsewhere: Teredo, documentation, 6to4. */
const privateV6: readonly [string, number][] = [
  ['::', 3],
  ['4000::', 2],
  ['8000::', 1],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
];
/** Behind a translator (NAT64) an IPv4 address stands in the last four bytes. */
const translated = '64:ff9b::';

/** An entry of the allow-list; `port` undefined is any. */
interface Allowed {
  host: string | undefined;
  addresses: BlockList | undefined;
  port: number | undefined;
}
export interface Destination {
  /** As `URL.hostname` gives it, without brackets. */
  host: string;
  port: number;
}
export type Destinations = ReturnType<typeof createDestinations>;

/** @throws AppError `invalid_request` naming the entry of `allow` (host, address or range, each with or without `:port`) */
export function createDestinations(allow: readonly string[]) {
  const allowed = allow.map(readEntry);

  /** Why `address`, to which the destination's name leads, must not be connected to; undefined when it may. */
  function refusal({ host, port }: Destination, address: string): string | undefined {
    if (!isPrivate(address)) return undefined;
    const may = allowed.some(
      (each) =>
        (each.port === undefined || each.port === port) &&
        (each.host === nameOf(host) || each.addresses?.check(bare(address), familyOf(address)) === true),
    );
    if (may) return undefined;
    const via = isIP(host) === 0 ? `${host} is ${address}, which` : address;
    return `${via} is no public address; to allow it, set ${allowVariable} of the server to ${host} or to a range`;
  }

  return {
    refusal,

    /**
     * The addresses of the destination, every one of which may be connected to.
     * @throws AppError `destination_refused`; `unavailable` when the name is not known
     */
    async resolve(destination: Destination): Promise<{ address: string; family: number }[]> {
      const found = await addressesOf(destination.host);
      for (const { address } of found) {
        const reason = refusal(destination, address);
        if (reason !== undefined) throw new AppError('destination_refused', reason);
      }
      return found;
    },
  };
}

/** Where a webhook's URL leads. @throws AppError `invalid_request` */
export function destinationOf(url: URL): Destination {
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new AppError('invalid_request', 'url: must begin with https:// or http://');
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port };
}

async function addressesOf(host: string): Promise<{ address: string; family: number }[]> {
  const family = isIP(host);
  if (family !== 0) return [{ address: host, family }];
  try {
    return await lookup(host, { all: true });
  } catch (cause) {
    throw new AppError('unavailable', `${host} cannot be resolved: ${messageOf(cause)}`, { cause });
  }
}

const blockedV4 = listOf(privateV4, 'ipv4');
const blockedV6 = listOf(privateV6, 'ipv6');
const translatedRange = listOf([[translated, 96]], 'ipv6');
const blockedTranslated = listOf(
  privateV4.map(([net, prefix]) => [`${translated}${net}`, 96 + prefix]),
  'ipv6',
);

function isPrivate(address: string): boolean {
  const plain = bare(address);
  if (!isIPv6(plain)) return blockedV4.check(plain, 'ipv4');
  if (translatedRange.check(plain, 'ipv6')) return blockedTranslated.check(plain, 'ipv6');
  return blockedV6.check(plain, 'ipv6');
}

/** Without the name of an interface (`fe80::1%eth0`). */
function bare(address: string): string {
  return address.replace(/%.*$/, '');
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(bare(address)) ? 'ipv6' : 'ipv4';
}

function nameOf(host: string): string {
  return host.toLowerCase().replace(/\.$/, '');
}

function listOf(ranges: readonly (readonly [string, number])[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const [net, prefix] of ranges) list.addSubnet(net, prefix, family);
  return list;
}

/** `host`, `host:port`, `10.0.0.0/8`, `10.0.0.0/8:8080`, `::1`, `[::1]:8080`, `fc00::/7`, `[fc00::/7]:8080`. */
function readEntry(entry: string): Allowed {
  const parts = /^(?:\[(?<inner>[^\]]+)\]|(?<outer>[^[\]]+?))(?::(?<port>\d{1,5}))?$/.exec(entry);
  const bracketed = parts?.groups?.inner;
  // An IPv6 address without brackets has colons of its own.
  const isBareV6 = bracketed === undefined && isIPv6(entry.replace(/\/\d+$/, ''));
  const what = isBareV6 ? entry : (bracketed ?? parts?.groups?.outer ?? '');
  const port = isBareV6 || parts?.groups?.port === undefined ? undefined : Number(parts.groups.port);
  const [net = '', prefixText] = what.split('/');
  const family = isIP(net);
  const bits = family === 6 ? 128 : 32;
  const prefix = prefixText === undefined ? bits : Number(prefixText);
  const isRange = family !== 0 && /^\d*$/.test(prefixText ?? '') && prefix <= bits;
  const isHost = family === 0 && prefixText === undefined && /^[A-Za-z0-9_.-]+$/.test(what);
  if ((!isRange && !isHost) || (port !== undefined && (port < 1 || port > 65_535)))
    throw new AppError(
      'invalid_request',
      `${allowVariable}: "${entry}" is no host, address or range, such as hooks.lan:8080, 10.0.0.5 or 192.168.0.0/16`,
    );
  if (isHost) return { host: nameOf(what), addresses: undefined, port };
  return { host: undefined, addresses: listOf([[net, prefix]], family === 6 ? 'ipv6' : 'ipv4'), port };
}
