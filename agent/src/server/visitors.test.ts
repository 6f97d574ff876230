// Routes times headers, over the front that ships: what pages of other origins and names that are not ours may do.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { type Answer, type ServedFront, serveFront, ways } from './front-fixture.ts';
import { createRepositoryChannel, type RepositoryChannel } from './repository.ts';
import { createVisitorCheck } from './visitors.ts';

const kiosk = 'http://kiosk.local';
const changed: string[] = [];
const repository: RepositoryChannel = createRepositoryChannel((message) => {
  if (message.kind !== 'repository') return;
  changed.push(`${message.action} ${message.name}`);
  setImmediate(() => repository.settle({ kind: 'repository_result', requestId: message.requestId }));
});

let front: ServedFront;
let own = '';

const tensors = JSON.stringify({ inputs: [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: [1, 2] }] });
const places = {
  infer: ['POST', '/v2/models/sum/infer', tensors],
  'infer of a version': ['POST', '/v2/models/sum/versions/1/infer', tensors],
  predict: ['POST', '/predict/sum', '{"features": [1, 2]}'],
  description: ['GET', '/predict/sum', ''],
  metadata: ['GET', '/v2/models/sum', ''],
  readiness: ['GET', '/v2/health/ready', ''],
  load: ['POST', '/v2/repository/models/sum/load', ''],
  unload: ['POST', '/v2/repository/models/sum/unload', ''],
  index: ['POST', '/v2/repository/index', ''],
  logging: ['POST', '/v2/logging', '{}'],
  metrics: ['GET', '/metrics', ''],
  page: ['GET', '/', ''],
  probe: ['GET', '/healthz', ''],
} as const;
type Place = keyof typeof places;
const all = Object.keys(places) as Place[];
const openToOthers: Place[] = [
  'infer',
  'infer of a version',
  'predict',
  'description',
  'metadata',
  'readiness',
  'probe',
];

function ask(place: Place, headers: Record<string, string> = {}): Promise<Answer> {
  const [method, path, body] = places[place];
  return method === 'POST' ? front.post(path, body, headers) : front.get(path, headers);
}

function errorOf(answer: Answer): string {
  const body = answer.json();
  return typeof body === 'object' && body !== null && 'error' in body ? String(body.error) : '';
}

describe.each(ways)('read %s', (_way, plain) => {
  beforeAll(async () => {
    const checkVisitor = createVisitorCheck({ allowOrigins: [kiosk], hosts: ['edge-7.plant.example'] });
    front = await serveFront({ repository, checkVisitor }, plain);
    await front.load('sum', softmaxClassifier([[1], [1]], [0]), {
      task: 'regression',
      inputs: { features: { features: ['a', 'b'] } },
    });
    own = `127.0.0.1:${front.port}`;
  });
  afterAll(() => front.close());

  describe.each(all)('%s', (place) => {
    it.each<[string, () => Record<string, string>]>([
      ['software without a browser', () => ({})],
      ['the agent’s own page', () => ({ origin: `http://${own}`, 'sec-fetch-site': 'same-origin' })],
      [
        'its page behind a proxy with TLS',
        () => ({ host: 'edge-7.plant.example', origin: 'https://edge-7.plant.example' }),
      ],
      [
        'such a proxy that names the port',
        () => ({ host: 'edge-7.plant.example:443', origin: 'https://edge-7.plant.example' }),
      ],
      ['an address typed by a person', () => ({ 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' })],
      ['localhost', () => ({ host: 'localhost:9000' })],
      ['another address of the machine', () => ({ host: '10.1.2.3:8000' })],
      ['an address of IPv6', () => ({ host: '[fe80::1]:8000' })],
      ['a service of Docker', () => ({ host: 'agent:8000' })],
      ['a name of the local network', () => ({ host: 'edge-7.local' })],
      ['a service of Kubernetes', () => ({ host: 'agent.plant.svc.cluster.local' })],
      ['a name that was set', () => ({ host: 'Edge-7.Plant.Example.:8000' })],
    ])('answers %s', async (_, headers) => {
      expect((await ask(place, headers())).status).toBe(200);
    });

    it.each<[string, () => Record<string, string>, RegExp]>([
      ['another origin', () => ({ origin: 'http://evil.example' }), /http:\/\/evil\.example.*EDGELOOP_ALLOW_ORIGINS/],
      ['another port of this machine', () => ({ origin: 'http://127.0.0.1:1' }), /EDGELOOP_ALLOW_ORIGINS/],
      ['a file or a frame in a sandbox', () => ({ origin: 'null' }), /"null"/],
      ['two origins', () => ({ origin: `${kiosk}, http://evil.example` }), /EDGELOOP_ALLOW_ORIGINS/],
      ['a name like ours', () => ({ origin: `http://${own}.evil.example` }), /EDGELOOP_ALLOW_ORIGINS/],
      ['another site', () => ({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }), /another site/],
      [
        'another name of our site',
        () => ({ 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' }),
        /another site/,
      ],
      [
        'a frame of another site',
        () => ({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }),
        /another site/,
      ],
      ['a name that points here', () => ({ host: 'evil.example' }), /"evil\.example".*EDGELOOP_ALLOW_HOSTS/],
      [
        'a page under a name that points here',
        () => ({ host: 'evil.example:8000', origin: 'http://evil.example:8000', 'sec-fetch-site': 'same-origin' }),
        /EDGELOOP_ALLOW_HOSTS/,
      ],
      ['a name with an address in it', () => ({ host: '127.0.0.1.nip.io' }), /EDGELOOP_ALLOW_HOSTS/],
      ['no name at all', () => ({ host: 'a@b' }), /EDGELOOP_ALLOW_HOSTS/],
    ])('refuses %s, naming it and the variable', async (_, headers, reason) => {
      const before = changed.length;
      const answer = await ask(place, headers());
      expect([answer.status, errorOf(answer)]).toEqual([403, expect.stringMatching(reason)]);
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
      expect(changed).toHaveLength(before);
    });

    const isOpen = openToOthers.includes(place);
    it(`${isOpen ? 'answers' : 'refuses'} an origin that was allowed by name`, async () => {
      const before = changed.length;
      const headers = { origin: kiosk, 'sec-fetch-site': 'cross-site', host: 'edge.other.example' };
      const answer = await ask(place, headers);
      expect(answer.status).toBe(isOpen ? 200 : 403);
      expect(answer.headers['access-control-allow-origin']).toBe(isOpen ? kiosk : undefined);
      if (!isOpen) expect([errorOf(answer), changed.length]).toEqual([expect.stringContaining(kiosk), before]);
    });

    it(`${isOpen ? 'grants' : 'refuses'} what it asks before`, async () => {
      const [method, path] = places[place];
      const asked = { 'access-control-request-method': method, 'access-control-request-headers': 'content-type' };
      const { status, headers, body } = await preflight(path, { origin: kiosk, ...asked });
      expect(status).toBe(isOpen ? 204 : 403);
      if (!isOpen) return;
      expect(headers['access-control-allow-origin']).toBe(kiosk);
      expect(headers.vary).toBe('Origin');
      expect(headers['access-control-allow-methods']).toContain(method);
      expect(headers['access-control-allow-headers']).toMatch(
        /authorization.*content-type.*inference-header-content-length/i,
      );
      expect([Number(headers['access-control-max-age']) > 0, body.length]).toEqual([true, 0]);
      expect(headers['access-control-allow-private-network']).toBeUndefined();
      expect((await preflight(path, { origin: 'http://evil.example', ...asked })).status).toBe(403);
    });
  });

  it('tells a page the length of the JSON before binary outputs', async () => {
    const { inputs } = JSON.parse(tensors);
    const binary = JSON.stringify({ inputs, parameters: { binary_data_output: true } });
    const answer = await front.post('/v2/models/sum/infer', binary, { origin: kiosk });
    expect(Number(answer.headers['inference-header-content-length'])).toBeGreaterThan(0);
    expect(answer.headers['access-control-expose-headers']).toMatch(/inference-header-content-length/i);
  });

  it('lets a page read what it did wrong, and a page of the internet ask for a machine of this network', async () => {
    const wrong = await front.post('/predict/nobody', '{}', { origin: kiosk });
    expect([wrong.status, wrong.headers['access-control-allow-origin']]).toEqual([404, kiosk]);
    const asked = { 'access-control-request-method': 'POST', 'access-control-request-private-network': 'true' };
    const { headers } = await preflight('/predict/sum', { origin: kiosk, ...asked });
    expect(headers['access-control-allow-private-network']).toBe('true');
  });

  it('opens its page, and nothing else, to who follows a link of another site', async () => {
    const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    expect((await ask('page', link)).status).toBe(200);
    expect((await ask('metrics', link)).status).toBe(403);
  });

  it('says of OPTIONS without an origin what it says of any method', async () => {
    expect((await front.send('OPTIONS', '/v2/models/sum/infer')).status).toBe(405);
  });

  it('takes requests of HTTP/1.0, which name no host', async () => {
    const socket = createConnection(front.port, '127.0.0.1');
    socket.write('GET /healthz HTTP/1.0\r\n\r\n');
    const [head] = await once(socket, 'data');
    expect(String(head)).toMatch(/^HTTP\/1\.1 200/);
  });

  it('with * lets pages of every origin ask, and change nothing', async () => {
    const any = await serveFront({ checkVisitor: createVisitorCheck({ allowOrigins: ['*'], hosts: ['*'] }) }, plain);
    const headers = { origin: 'null', host: 'any.example' };
    const answer = await any.get('/v2', headers);
    expect([answer.status, answer.headers['access-control-allow-origin']]).toEqual([200, 'null']);
    expect((await any.post('/v2/repository/models/sum/unload', '', headers)).status).toBe(403);
    expect((await any.post('/v2/repository/index', '', { host: 'any.example' })).status).toBe(200);
    await any.close();
  });
});

it('takes any name over a Unix socket, which no page reaches, and still no page of others', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'visitors-'));
  const check = createVisitorCheck({ allowOrigins: [], hosts: [] });
  const verdict = (request: Parameters<typeof check>[0]) => {
    try {
      return check(request, '/') ?? 'lets';
    } catch {
      return 'refuses';
    }
  };
  const server = createServer((request, response) => response.end(verdict(request)));
  await once(server.listen(join(folder, 's')), 'listening');
  const over = async (headers: Record<string, string>) => {
    const [response] = await once(httpRequest({ socketPath: join(folder, 's'), headers }).end(), 'response');
    return String((await response.toArray())[0]);
  };
  expect(await over({ host: 'whatever.example' })).toBe('lets');
  expect(await over({ host: 'whatever.example', origin: 'http://evil.example' })).toBe('refuses');
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true });
});

async function preflight(path: string, headers: Record<string, string>): Promise<Answer> {
  return front.send('OPTIONS', path, headers);
}
