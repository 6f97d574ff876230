// What Prometheus' own tool finds wrong with an exposition.
import { spawnSync } from 'node:child_process';

/** Its complaints; empty when there are none. */
export function complaintsOf(promtool: string, exposition: string): string {
  const { stdout, stderr, status, error } = spawnSync(promtool, ['check', 'metrics'], {
    input: exposition,
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  const text = `${stdout}${stderr}`.trim();
  return text === '' && status !== 0 ? `promtool ended with ${status}` : text;
}
