// Takes simulated devices out of the fleet again, and nothing else.
import { Device } from '@edgeloop/shared/api/devices';
import { pageOf } from '@edgeloop/shared/api/paging';
import type { ApiClient } from '../cli/client.ts';
import { idPrefix, simulatedLabel } from './traits.ts';

const atOnce = 8;
const pageDevices = 1000;

/** Those of one run, or of all runs; gives how many there were. */
export async function removeSimulated(
  api: ApiClient,
  run: string | undefined,
  seen: (removed: number) => void,
): Promise<number> {
  const selector = `${simulatedLabel}=true${run === undefined ? '' : `,run=${run}`}`;
  let removed = 0;
  for (;;) {
    // What was removed is not listed any more, so the first page is always the next.
    const { items } = await api.get('/devices', pageOf(Device), { selector, limit: pageDevices });
    // Labels can be set by hand; the id says that nobody built it.
    const ids = items.map(({ id }) => id).filter((id) => id.startsWith(idPrefix));
    if (ids.length === 0) return removed;
    const worker = async () => {
      for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
        await api.send('DELETE', `/devices/${encodeURIComponent(id)}`, Device);
        removed += 1;
        seen(removed);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }
}
