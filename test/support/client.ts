// Device software as tests play it: a steady stream of predictions on one agent's port, counted from outside.
import { Agent as HttpAgent, request } from 'undici';

interface ClientCounts {
  answered: number;
  /** Answers by model version. */
  versions: Map<string, number>;
  failures: string[];
}

export interface SteadyClient {
  counts: ClientCounts;
  /** Stops and waits for what is under way. */
  stop(): Promise<ClientCounts>;
}

/** Sends `perSecond` requests a second on keep-alive connections until stopped. */
export function startClient(url: string, model: string, perSecond: number): SteadyClient {
  const connections = new HttpAgent({ connections: 8 });
  const counts: ClientCounts = { answered: 0, versions: new Map(), failures: [] };
  const underWay = new Set<Promise<void>>();
  const begun = performance.now();
  let sent = 0;
  const one = async () => {
    try {
      const { statusCode, body } = await request(`${url}/predict/${model}`, {
        method: 'POST',
        dispatcher: connections,
        headers: { 'content-type': 'application/json' },
        body: '{"features":{"a":1,"b":2}}',
      });
      const text = await body.text();
      if (statusCode !== 200) throw new Error(`${statusCode} ${text}`);
      const version = String(JSON.parse(text).version);
      counts.answered++;
      counts.versions.set(version, (counts.versions.get(version) ?? 0) + 1);
    } catch (error) {
      counts.failures.push(String(error));
    }
  };
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - begun) * perSecond) / 1000);
    for (; sent < due; sent++) {
      const done: Promise<void> = one().finally(() => underWay.delete(done));
      underWay.add(done);
    }
  }, 5);
  return {
    counts,
    stop: async () => {
      clearInterval(timer);
      await Promise.all(underWay);
      await connections.close();
      return counts;
    },
  };
}
