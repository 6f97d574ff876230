// The same bytes to two servers, one that reads plain requests itself and one that leaves all reading to Node's HTTP server:
// they must say the same. The first gets requests behind each other or one by one, cut anywhere; the second always one by
// one, and slowly where they differ: Node drops the answers that are under way when something malformed comes behind them.
import { join } from 'node:path';
import { identity } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing, writeModel } from '../support/serving.ts';
import { type Conversation, converse } from './conversation.ts';
import { createRandom } from './random.ts';
import { createRequest } from './requests.ts';

export interface Difference {
  seed: number;
  conversation: Conversation;
  plain: string;
  node: string;
}

export interface FuzzOptions {
  /** Of the first conversation; each further one has the next. */
  seed: number;
  /** Asked before each conversation. */
  goesOn(): boolean;
  onDifference(difference: Difference): void;
}

const atOnce = 8;
/** What differs, differs again. */
const confirmations = 3;
/** What differs only on a busy machine does not differ when there is time. */
const quietMs = [150, 400, 1000, 5000] as const;

/** Compares conversations until it is told to end; the number of those that were compared. */
export async function compareWays({ seed, goesOn, onDifference }: FuzzOptions): Promise<number> {
  const folder = await temporaryFolder();
  const servers: FolderServer[] = [];
  try {
    for (const way of ['on', 'off']) servers.push(await startWay(join(folder.path, way), way));
    const [plain, node] = servers;
    if (plain === undefined || node === undefined) throw new Error('a server is missing');
    let next = seed;
    const one = async (): Promise<void> => {
      while (goesOn()) {
        const difference = await confirmed(next++, { plain: plain.port, node: node.port });
        if (difference) onDifference(difference);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, one));
    return next - seed;
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    await folder.remove();
  }
}

async function startWay(folder: string, way: string): Promise<FolderServer> {
  const manifest = { inputs: { x: { features: ['a', 'b'] } } };
  await writeModel(folder, 'floats', identity('float', ['batch', 2]), { manifest });
  return startServing(folder, {
    env: {
      EDGELOOP_PLAIN_HTTP: way,
      EDGELOOP_ALLOW_ORIGINS: 'http://kiosk.local',
      EDGELOOP_THREADS: '1',
      EDGELOOP_LOG_LEVEL: 'error',
    },
  });
}

function createConversation(seed: number): Conversation {
  const random = createRandom(seed);
  const requests = Array.from({ length: 1 + random.below(4) }, () => createRequest(random));
  const length = requests.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const headLength = Math.min(length, 400);
  const cuts = Array.from({ length: random.pick([0, 0, 1, 3, 8]) }, () =>
    random.below(random.in100(70) ? headLength : length),
  );
  return { requests, cuts: cuts.sort((a, b) => a - b), pipelined: random.in100(50) };
}

interface Ports {
  plain: number;
  node: number;
}

async function confirmed(seed: number, ports: Ports): Promise<Difference | undefined> {
  let difference = await compare(seed, ports);
  for (let i = 0; i < confirmations && difference; i++) difference = await compare(seed, ports);
  return difference;
}

async function compare(seed: number, ports: Ports): Promise<Difference | undefined> {
  const conversation = createConversation(seed);
  let difference: Difference | undefined;
  for (const ms of quietMs) {
    const [plain, node] = await Promise.all([
      converse(ports.plain, conversation, { quietMs: ms }),
      converse(ports.node, { ...conversation, pipelined: false, slowly: difference !== undefined }, { quietMs: ms }),
    ]);
    if (isSame(comparable(plain), comparable(node), conversation)) return undefined;
    const atOnce = await converse(ports.node, conversation, { quietMs: ms });
    if (comparable(plain) === comparable(atOnce)) return undefined;
    difference = { seed, conversation, plain, node };
  }
  return difference;
}

/**
 * Where it is Node's for good, something malformed makes it drop answers that are under way, as it does when it has been
 * Node's from the start; of requests that come at once, it takes the next for malformed behind one that ends the
 * connection. What was answered must be the same.
 */
function isSame(plain: string, node: string, { pipelined }: Conversation): boolean {
  if (plain === node) return true;
  const [refusal] = /HTTP\/1\.1 4\d\d [\w ]+\r\nConnection: close\r\n\r\n$/.exec(plain) ?? [];
  if (refusal === undefined || !node.startsWith(plain.slice(0, -refusal.length))) return false;
  return pipelined || node.endsWith(refusal);
}

/** Without what differs between any two answers. */
function comparable(said: string): string {
  return said
    .replaceAll(/\r\ndate: [^\r]*/gi, '')
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'ID');
}
