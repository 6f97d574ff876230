import { expect, test } from 'vitest';
import { hostNameOf, isPrivateName, originOf } from './origins.ts';

test.each([
  ['localhost:8000', 'localhost'],
  ['127.0.0.1', '127.0.0.1'],
  ['[::1]:8000', '[::1]'],
  ['Edge-7.Plant.Example.:80', 'edge-7.plant.example'],
  ['agent:', 'agent'],
  ['a b', undefined],
  ['user@host', undefined],
  ['http://host', undefined],
  ['one,two', undefined],
  ['', undefined],
])('the name of the host %j is %j', (host, name) => {
  expect(hostNameOf(host)).toBe(name);
});

test.each([
  'localhost',
  'agent',
  '10.0.0.7',
  '[fe80::1]',
  'edge.local',
  'a.svc.cluster.local',
  'x.home.arpa',
  'api.internal',
])('nobody can publish the name %s', (name) => expect(isPrivateName(name)).toBe(true));

test.each([
  'evil.example',
  'agent.dev',
  'local.evil.example',
  'localhost.evil.example',
  '10.0.0.7.nip.io',
  'notlocal.arpa',
])('somebody can publish the name %s', (name) => expect(isPrivateName(name)).toBe(false));

test.each([
  ['http://Kiosk.local', 'http://kiosk.local'],
  ['https://kiosk.example:443/', 'https://kiosk.example'],
  ['http://[::1]:3000', 'http://[::1]:3000'],
  ['https://bücher.example', 'https://xn--bcher-kva.example'],
  ['capacitor://localhost', 'capacitor://localhost'],
  ['kiosk.local', undefined],
  ['http://kiosk.local/app', undefined],
  ['http://*.example', undefined],
  ['http://a@b', undefined],
  ['http://a:99999', undefined],
  ['null', undefined],
])('the origin in %j is %j', (text, origin) => {
  expect(originOf(text)).toBe(origin);
});
