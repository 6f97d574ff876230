// The log of a run, following its end as long as a person has not scrolled away from it.
import { RunLog } from '@edgeloop/shared/api/training';
import { useEffect, useRef } from 'preact/hooks';
import type { z } from 'zod';
import { useQuery } from '../api/queries.ts';
import { formatInstant } from '../format.ts';
import { Card, Loaded } from './layout.tsx';

export function RunLogs({ path }: { path: string }) {
  const log = useQuery(RunLog, `${path}/logs`, ['run']);
  return (
    <Card title="Log" flush>
      <Loaded query={log}>{(found) => <Lines lines={found.lines} />}</Loaded>
    </Card>
  );
}

function Lines({ lines }: z.infer<typeof RunLog>) {
  const frame = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  useEffect(() => {
    const element = frame.current;
    if (element !== null && following.current) element.scrollTop = element.scrollHeight;
  }, [lines.length]);
  return (
    <div
      class="log"
      ref={frame}
      role="log"
      aria-label="Log lines"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a frame that scrolls must be reachable by keyboard
      tabIndex={0}
      onScroll={(event) => {
        const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
        following.current = scrollHeight - scrollTop - clientHeight < 24;
      }}
    >
      {lines.length === 0 && <span class="muted">No lines yet.</span>}
      {lines.map((line, i) => (
        <div key={`${line.at} ${i}`}>
          <time dateTime={new Date(line.at).toISOString()}>{formatInstant(line.at).slice(11)}</time>
          {line.text}
        </div>
      ))}
    </div>
  );
}
