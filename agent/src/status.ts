// `edgeloop-agent status`: what the agent on this machine says of itself on its local port.
import { join } from 'node:path';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { readIfPresentSync } from '@edgeloop/shared/node/durable-files';
import { request } from 'undici';
import { z } from 'zod';
import type { Config } from './config.ts';

const Problem = z.object({ what: z.string(), since: z.number(), words: z.string() });
const Address = z.object({
  pid: z.number(),
  host: z.string(),
  port: z.number(),
  /** As they were when the disk last took them; `/metrics` has them as they are. */
  problems: z.array(Problem).default([]),
});
const Index = z.array(z.object({ name: z.string(), version: z.string().optional(), state: z.string().optional() }));

export interface AgentStatus {
  running: boolean;
  ready: boolean;
  pid: number;
  url: string;
  models: z.infer<typeof Index>;
  /** What stands in the way of serving, recording or following. */
  problems: z.infer<typeof Problem>[];
}

/** Asks the running agent of the configured data folder. @throws AppError `unavailable` when there is none */
export async function readStatus(config: Config): Promise<AgentStatus> {
  const text = readIfPresentSync(join(config.dataDir, 'agent.json'));
  if (text === undefined)
    throw new AppError('unavailable', `no agent runs on ${config.dataDir}; start one with: edgeloop-agent run`);
  const { pid, host, port, problems } = parseJson(Address, text, 'agent.json', 'integrity');
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const headers = config.token === undefined ? {} : { authorization: `Bearer ${config.token}` };
  try {
    const ready = await request(`${url}/readyz`, { headers });
    await ready.body.dump();
    const index = await request(`${url}/v2/repository/index`, { method: 'POST', headers });
    const listed = Index.safeParse(await index.body.json().catch(() => undefined));
    const models = listed.success ? listed.data : [];
    return { running: true, ready: ready.statusCode === 200, pid, url, models, problems };
  } catch (cause) {
    throw new AppError('unavailable', `the agent at ${url} does not answer: ${messageOf(cause)}`, { cause });
  }
}

export function formatStatus({ ready, pid, url, models, problems }: AgentStatus): string {
  const lines = models.map(({ name, version = '', state = '' }) => `  ${name} ${version} ${state}`.trimEnd());
  const troubles = problems.map(({ words }) => `  ! ${words}`);
  return [`${url} (pid ${pid}): ${ready ? 'ready' : 'not ready'}`, ...lines, ...troubles].join('\n');
}
