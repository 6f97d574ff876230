import { expect, it } from 'vitest';
import { createDestinations, destinationOf } from './destinations.ts';

const open = createDestinations([]);
const host = { host: 'hooks.example', port: 443 };

it.each([
  ...[
    '127.0.0.1',
    '127.9.9.9',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '0.0.0.0',
  ],
  ...['100.64.0.1', '192.0.0.8', '198.18.0.1', '203.0.113.5', '224.0.0.1', '240.0.0.1', '255.255.255.255'],
  ...['::', '::1', '::7f00:1', '::ffff:127.0.0.1', '::ffff:a00:1', 'fc00::1', 'fd12::1', 'fe80::1', 'fe80::1%eth0'],
  ...['fec0::1', 'ff02::1', '64:ff9b::7f00:1', '64:ff9b::169.254.169.254', '64:ff9b:1::1', '2002:7f00:1::', '2001::1'],
  ...['2001:db8::1', '100::1', '3fff::1', '4000::1', 'fd00:ec2::254'],
])('refuses %s, and says what to set', (address) => {
  expect(open.refusal(host, address)).toMatch(/no public address.*EDGELOOP_WEBHOOK_ALLOW/);
});

it.each(['8.8.8.8', '172.15.0.1', '172.32.0.1', '100.128.0.1', '2606:4700::1111', '2a00:1450::1', '64:ff9b::8.8.8.8'])(
  'lets %s through',
  (address) => expect(open.refusal(host, address)).toBeUndefined(),
);

it.each([
  ['http://127.1/', '127.0.0.1'],
  ['http://2130706433/', '127.0.0.1'],
  ['http://0x7f.0.0.1/', '127.0.0.1'],
  ['http://0177.0.0.1:81/', '127.0.0.1'],
  ['http://[::ffff:127.0.0.1]/', '::ffff:7f00:1'],
  ['http://①②⑦.0.0.1/', '127.0.0.1'],
])('sees through %s', async (url, address) => {
  const destination = destinationOf(new URL(url));
  expect(destination.host).toBe(address);
  await expect(open.resolve(destination)).rejects.toMatchObject({ code: 'destination_refused' });
});

it('judges a name by what it resolves to', async () => {
  await expect(open.resolve({ host: 'localhost', port: 80 })).rejects.toMatchObject({
    code: 'destination_refused',
    message: expect.stringMatching(/^localhost is (127\.0\.0\.1|::1)/),
  });
});

it.each([
  ['hooks.example', true],
  ['HOOKS.example.', true],
  ['hooks.example:443', true],
  ['hooks.example:444', false],
  ['10.0.0.5', true],
  ['10.0.0.5:443', true],
  ['10.0.0.5:80', false],
  ['10.0.0.0/8', true],
  ['10.0.0.0/8:443', true],
  ['[fd00::/8]:443', false],
  ['other.example', false],
  ['192.168.0.0/16', false],
])('with %s allowed, 10.0.0.5 behind a name may be reached: %s', (entry, may) => {
  expect(createDestinations([entry]).refusal(host, '10.0.0.5') === undefined).toBe(may);
});

it('allows IPv6 with and without brackets and port, and an IPv4 range for its mapped form', () => {
  for (const entry of ['fd00::5', '[fd00::5]', '[fd00::5]:443', 'fd00::/8', '[fd00::/8]:443'])
    expect(createDestinations([entry]).refusal(host, 'fd00::5')).toBeUndefined();
  expect(createDestinations(['10.0.0.0/8']).refusal(host, '::ffff:10.0.0.1')).toBeUndefined();
});

it.each(['10.0.0.0/33', '10.0.0.0/x', 'a b', 'http://x', 'host:0', 'host:99999', 'host/8', ''])(
  'refuses the entry "%s" by name',
  (entry) => {
    expect(() => createDestinations([entry])).toThrow(/EDGELOOP_WEBHOOK_ALLOW/);
  },
);
