// The versions of a simulated fleet: real release documents with real digests and signatures, whose models do what models do to those
// who try them.
import { Readable } from 'node:stream';
import { AppError } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import { Release } from '@edgeloop/shared/release';
import type { DevicePort } from '../../agent/src/identity/device-port.ts';
import type { RegisteredVersion } from '../../control-plane/src/rollouts/server-fixture.ts';
import type { Dice } from '../../control-plane/src/simulate/dice.ts';
import type { Network } from './network.ts';

/**
 * The first fail on every device before anybody could take them for good. `rotten`: its bytes are not those of its release.
 * `failing`: half of its answers are errors, which shows where somebody asks. `slow`: takes longer to be proven than a rollout
 * waits, and serves in the end. `leaking`: ends its process after some time of service, for memory. `picky`: fails on some
 * devices only.
 */
const deadly = ['rotten', 'unproven', 'unloadable', 'kills at load', 'kills at first run'] as const;
const others = [...deadly, 'failing', 'slow', 'leaking', 'picky'] as const;
type Behaviour = 'good' | (typeof others)[number];

export interface SimulatedVersion extends RegisteredVersion {
  behaviour: Behaviour;
  bytes: Buffer;
  document: Buffer;
}

export function failsEverywhere({ behaviour }: SimulatedVersion): boolean {
  return deadly.some((each) => each === behaviour);
}

/** Version 1 of each model is good; `count` versions of each. */
export function makeVersions(
  models: readonly string[],
  { count, sign, dice }: { count: number; sign: (release: string) => string; dice: Dice },
): SimulatedVersion[] {
  return models.flatMap((model) =>
    Array.from({ length: count }, (_, i) => {
      const behaviour = i === 0 || dice.chance(0.4) ? 'good' : dice.pick(others);
      return makeVersion({ model, version: i + 1, behaviour, sign });
    }),
  );
}

const segmentBytes = 64;

function makeVersion(of: {
  model: string;
  version: number;
  behaviour: Behaviour;
  sign: (release: string) => string;
}): SimulatedVersion {
  const { model, version, behaviour, sign } = of;
  // Layers that versions share, and one of its own.
  const bytes = Buffer.from(`${'shared layer '.repeat(8)}${model} ${version} `.padEnd(200, '.'));
  const segments = [0, 1, 2, 3].map((i) => {
    const piece = bytes.subarray(i * segmentBytes, (i + 1) * segmentBytes);
    return { sizeBytes: piece.length, digest: sha256(piece) };
  });
  const digest = sha256(bytes);
  const document = Buffer.from(
    JSON.stringify(
      Release.parse({
        ...{ format: 1, name: model, version, signature: { inputs: [], outputs: [] }, manifest: {} },
        ...{ artifact: { digest, sizeBytes: bytes.length, segments }, golden: { samples: [] } },
      }),
    ),
  );
  const release = sha256(document);
  return { model, version, behaviour, bytes, document, digest, release, signature: sign(release) };
}

/** The device port of the control plane as one device reaches it: slow, and now and then cut, or with somebody in between. */
export function createPort(
  deviceId: string,
  { versions, network, dice }: { versions: readonly SimulatedVersion[]; network: Network; dice: Dice },
): DevicePort {
  const blobs = new Map<string, Buffer>();
  for (const { release, document, digest, bytes, behaviour } of versions) {
    blobs.set(release, document);
    const rotten = Buffer.from(bytes);
    // In the layer of its own: the others may be on the device already.
    rotten[segmentBytes + 1] = 0;
    blobs.set(digest, behaviour === 'rotten' ? rotten : bytes);
  }
  const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  return {
    async send({ path, headers }) {
      await wait(network.latencyMs());
      if (!network.reaches(deviceId)) throw new AppError('unavailable', 'the control plane does not answer');
      const whole = blobs.get(path.split('/').at(-1) ?? '');
      if (whole === undefined) throw new AppError('not_found', `there is no ${path}`);
      const range = /^bytes=(\d+)-(\d+)$/.exec(headers?.range ?? '');
      const wanted = range === null ? whole : whole.subarray(Number(range[1]), Number(range[2]) + 1);
      const bytes = Buffer.from(wanted);
      if (dice.chance(0.02)) bytes[0] = 1;
      const pieces = async function* () {
        for (let at = 0; at < bytes.length; at += 100) {
          if (!network.reaches(deviceId) || dice.chance(0.03)) throw new Error('ECONNRESET');
          yield bytes.subarray(at, at + 100);
          await wait(dice.between(1, 200));
        }
      };
      return {
        ...{
          statusCode: range === null ? 200 : 206,
          statusText: '',
          headers: {},
          trailers: {},
          opaque: null,
          context: {},
        },
        body: Object.assign(Readable.from(pieces(), { highWaterMark: 1 }), unread),
      };
    },
    useTls: () => undefined,
    close: async () => undefined,
  };
}

const never = () => Promise.reject(new Error('nobody reads an answer in this way'));
const unread = {
  ...{ arrayBuffer: never, blob: never, bytes: never, formData: never, json: never, text: never, dump: never },
  ...{ bodyUsed: false, body: undefined },
};
