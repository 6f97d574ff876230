// Waves as people write them: `10,50,100`, `5n` for a number of devices, with a name before a colon: `pilot:10`. Waves that only try
// the version begin with their kind: `shadow:10`, and `split:10:0.2` with the share of requests.
import type { PlannedWave, WaveApproval } from './api/rollouts.ts';
import { AppError } from './errors.ts';

/** @throws AppError `invalid_request` naming the wave; bounds are the plan's to check */
export function parseWaves(text: string): PlannedWave[] {
  return text.split(',').map((each) => parseWave(each.trim()));
}

function parseWave(text: string): PlannedWave {
  const [, kind, rest = ''] = /^(shadow|split):(.*)$/.exec(text) ?? [];
  if (kind === undefined) return parseSize(text);
  if (kind === 'shadow') return { ...parseSize(rest), kind };
  const at = rest.lastIndexOf(':');
  const share = Number(rest.slice(at + 1));
  if (at === -1 || !Number.isFinite(share))
    throw new AppError('invalid_request', `the wave "${text}" must say its share of requests, as split:10:0.2`);
  return { ...parseSize(rest.slice(0, at)), kind: 'split', share };
}

function parseSize(text: string): PlannedWave {
  const at = text.lastIndexOf(':');
  const name = at === -1 ? {} : { name: text.slice(0, at).trim() };
  const [, size = '', kind] = /^(\d+(?:\.\d+)?)([n%]?)$/.exec(text.slice(at + 1).trim()) ?? [];
  if (size === '')
    throw new AppError(
      'invalid_request',
      `the wave "${text}" must be a percentage as 10, or a number of devices as 5n`,
    );
  return kind === 'n' ? { devices: Number(size), ...name } : { percent: Number(size), ...name };
}

/** Of `fleet`, `fleet:admin` or `fleet:admin:four-eyes`: the wave of this name waits for approval. */
export function approveBefore(waves: readonly PlannedWave[], text: string): PlannedWave[] {
  const [, name = '', role, fourEyes] = /^(.*?)(?::(operator|admin))?(:four-eyes)?$/.exec(text.trim()) ?? [];
  const approval: WaveApproval = { role: role === 'admin' ? 'admin' : 'operator', fourEyes: fourEyes !== undefined };
  if (!waves.some((wave) => wave.name === name))
    throw new AppError(
      'invalid_request',
      `no wave has the name "${name}" that is to be approved; name one as ${name || 'fleet'}:100`,
    );
  return waves.map((wave) => (wave.name === name ? { ...wave, approval } : wave));
}
