// `GET /metrics/stream`: the answer to a query again and again, first whole, then what has changed.
import type { MetricNews, MetricQuestion, MetricResult, Series } from '@edgeloop/shared/api/metrics';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { pause } from '@edgeloop/shared/node/backoff';

const maxStreams = 50;
/** Looks without news, after which a line is sent so that proxies keep the connection. */
const quietLooks = 3;

interface Streamed {
  /** The same question for each look: relative times move on. */
  questions: readonly MetricQuestion[];
  everyMs: number;
  /** Ends it. */
  signal: AbortSignal;
}

export function createMetricStreams({ query }: { query: (asked: MetricQuestion) => Promise<MetricResult> }) {
  let open = 0;

  /** Frames of server-sent events. @throws AppError `too_many_requests`, and what the first look throws */
  return async function stream({ questions, everyMs, signal }: Streamed): Promise<ReadableStream<Uint8Array>> {
    if (open >= maxStreams)
      throw new AppError('too_many_requests', `${maxStreams} streams of metrics are open`, { retryAfterSeconds: 30 });
    open++;
    try {
      const first = await look(questions);
      return framesOf(first, { questions, everyMs, signal });
    } catch (error) {
      open--;
      throw error;
    }
  };

  async function look(questions: readonly MetricQuestion[]): Promise<MetricResult[]> {
    const results: MetricResult[] = [];
    for (const question of questions) results.push(await query(question));
    return results;
  }

  function framesOf(first: MetricResult[], { questions, everyMs, signal }: Streamed): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder();
    const gone = new AbortController();
    const ending = AbortSignal.any([signal, gone.signal]);
    let known = first;
    let quiet = 0;
    let ended = false;
    const end = () => {
      if (!ended) open--;
      ended = true;
    };
    return new ReadableStream<Uint8Array>(
      {
        start(controller) {
          controller.enqueue(encoder.encode(`retry: 2000\n${frame({ kind: 'whole', results: first })}`));
          const close = () => {
            end();
            if (!gone.signal.aborted) controller.close();
          };
          if (signal.aborted) close();
          else signal.addEventListener('abort', close, { once: true, signal: gone.signal });
        },
        // Asked for when the client has read what came before: one that reads slowly is looked for less often.
        async pull(controller) {
          for (;;) {
            await pause(everyMs, ending);
            if (ending.aborted) return;
            const text = await news();
            if (ending.aborted) return;
            if (text !== undefined) return controller.enqueue(encoder.encode(text));
          }
        },
        cancel() {
          end();
          gone.abort();
        },
      },
      { highWaterMark: 1 },
    );

    async function news(): Promise<string | undefined> {
      try {
        const results = await look(questions);
        const changed = changesOf(known, results);
        known = results;
        quiet = changed.length > 0 ? 0 : quiet + 1;
        if (changed.length > 0) return frame({ kind: 'news', results: changed });
      } catch (error) {
        // The next look may succeed; who listens is told.
        return `event: problem\ndata: ${JSON.stringify({ detail: messageOf(error) })}\n\n`;
      }
      if (quiet < quietLooks) return undefined;
      quiet = 0;
      return ': alive\n\n';
    }
  }
}

function frame(news: MetricNews): string {
  return `event: metrics\ndata: ${JSON.stringify(news)}\n\n`;
}

/** Of each result the series with points that are new or have changed, and only these; results without any are left out. */
function changesOf(former: readonly MetricResult[], present: readonly MetricResult[]): MetricResult[] {
  return present.flatMap((result, i) => {
    const known = new Map((former[i]?.series ?? []).map((series) => [nameOf(series), series]));
    const series = result.series.flatMap((each) => {
      const values = new Map(known.get(nameOf(each))?.points.map(({ at, value }) => [at, value]));
      const points = each.points.filter(({ at, value }) => value !== (values.get(at) ?? null));
      return points.length === 0 ? [] : [{ ...each, points }];
    });
    return series.length === 0 ? [] : [{ ...result, series }];
  });
}

function nameOf({ labels, quantile, compare }: Series): string {
  return JSON.stringify([labels, quantile, compare]);
}
