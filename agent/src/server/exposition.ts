// Histograms in the text format of Prometheus, from counts that are kept anyway: the client library could only be fed one
// observation at a time, which a request would pay for. https://prometheus.io/docs/instrumenting/exposition_formats/

export interface HistogramSeries {
  model: string;
  version: number;
  /** Observations up to each bound (and above the one before), and those above the last. */
  counts: readonly number[];
  sum: number;
}

/** One histogram with a series for each model version. `bounds` ascend. */
export function histogramText(
  { name, help, bounds }: { name: string; help: string; bounds: readonly number[] },
  series: readonly HistogramSeries[],
): string {
  const lines = series.flatMap(({ model, version, counts, sum }) => {
    const labels = `model="${model}",version="${version}"`;
    let total = 0;
    const buckets = [...bounds, '+Inf'].map((bound, place) => {
      total += counts[place] ?? 0;
      return `${name}_bucket{le="${bound}",${labels}} ${total}`;
    });
    return [...buckets, `${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${total}`];
  });
  return [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`, ...lines, ''].join('\n');
}

/** Metrics of several processes as one text: what has one name stands together, as Prometheus asks for. */
export function mergedTexts(texts: readonly string[]): string {
  /** The lines of each metric by its head, `# HELP` and `# TYPE`. */
  const merged = new Map<string, string[]>();
  for (const text of texts) {
    for (const block of text.split(/^(?=# HELP )/m)) {
      const lines = block.split('\n').filter((line) => line !== '');
      const head = lines.filter((line) => line.startsWith('#')).join('\n');
      const known = merged.get(head) ?? [];
      merged.set(head, [...known, ...lines.filter((line) => !line.startsWith('#'))]);
    }
  }
  return [...merged].map(([head, lines]) => `${[head, ...lines].join('\n')}\n`).join('\n');
}
